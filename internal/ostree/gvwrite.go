package ostree

// appendPad appends zero bytes until b, whose value begins at start, is aligned.
func appendPad(b []byte, start, align int) []byte {
	for (len(b)-start)%align != 0 {
		b = append(b, 0)
	}
	return b
}

// offsetWidth returns the width in bytes of each of n framing offsets behind a
// body: the smallest that can express the size of the whole container.
func offsetWidth(body, n int) int {
	for _, w := range []int{1, 2, 4} {
		if uint64(body+w*n) <= 1<<(8*w)-1 {
			return w
		}
	}
	return 8
}

// appendOffsets appends the framing offsets of an array that began at start.
func appendOffsets(b []byte, start int, ends []int) []byte {
	w := offsetWidth(len(b)-start, len(ends))
	for _, e := range ends {
		b = appendOffset(b, e, w)
	}
	return b
}

// appendTupleOffsets is appendOffsets for a tuple, which stores them backwards.
func appendTupleOffsets(b []byte, start int, ends ...int) []byte {
	w := offsetWidth(len(b)-start, len(ends))
	for i := len(ends) - 1; i >= 0; i-- {
		b = appendOffset(b, ends[i], w)
	}
	return b
}

func appendOffset(b []byte, end, w int) []byte {
	for i := range w {
		b = append(b, byte(uint64(end)>>(8*i)))
	}
	return b
}

func appendString(b []byte, s string) []byte { return append(append(b, s...), 0) }
