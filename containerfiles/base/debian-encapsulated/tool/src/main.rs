//! The command line of ostree-ext: `container encapsulate` makes an image with
//! chunk layers of a commit, `container image deploy` is the importer that
//! machines run.
fn main() -> anyhow::Result<()> {
    tokio::runtime::Runtime::new()?
        .block_on(ostree_ext::cli::run_from_iter(std::env::args_os()))
}
