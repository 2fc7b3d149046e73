# Compiles the tool from the crates that Cargo.lock names by digest. A secret
# "ca" is a bundle of certificates for networks that bring their own.
set -eu
[ ! -s /run/secrets/ca ] || export CARGO_HTTP_CAINFO=/run/secrets/ca
/usr/libexec/aither/packages open
apt-get update
apt-get install --yes --no-install-recommends \
	cargo gcc libc6-dev libglib2.0-dev libostree-dev libssl-dev pkgconf rustc
cp -r /.aither/tool /tmp/tool
cd /tmp/tool
CARGO_HOME=/tmp/cargo cargo build --release --locked
install -m 0755 target/release/encapsulate /usr/bin/encapsulate
rm -rf /tmp/tool /tmp/cargo
