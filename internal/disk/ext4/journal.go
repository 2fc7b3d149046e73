package ext4

const (
	minJournalBlocks = 1024
	maxJournalBlocks = 1 << 18
)
