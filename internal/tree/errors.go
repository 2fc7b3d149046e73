package tree

import "fmt"

// A TooLargeError says that content is larger than its reader may hold in memory.
type TooLargeError struct{ Size, Limit int64 }

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("content of %d bytes is over the limit of %d", e.Size, e.Limit)
}
