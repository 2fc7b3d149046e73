package selinux

import (
	"regexp/syntax"
)

// A shape is a way to match what follows an expression's literal prefix. Nearly
// all expressions of real policies have one that needs no regular expression.
type shape byte

const (
	shapeRegexp    shape = iota
	shapeAnything        // .*
	shapeSomething       // .+
	shapeBelow           // (/.*)?
	shapeSegment         // [^/]*
)

// split takes apart the concatenation ^ … $ of an expression: its literal prefix,
// and the shape of the rest or a text that the rest must hold.
func (s *spec) split(parts []*syntax.Regexp) {
	if len(parts) < 2 || parts[0].Op != syntax.OpBeginText || parts[len(parts)-1].Op != syntax.OpEndText {
		return
	}
	parts = parts[1 : len(parts)-1]
	if len(parts) > 0 && isLiteral(parts[0]) {
		s.prefix, parts = string(parts[0].Rune), parts[1:]
	}
	if len(parts) == 1 {
		s.shape = shapeOf(parts[0])
	}
	for _, p := range parts {
		if isLiteral(p) && len(string(p.Rune)) > len(s.needs) {
			s.needs = string(p.Rune)
		}
	}
}

func isLiteral(r *syntax.Regexp) bool {
	return r.Op == syntax.OpLiteral && r.Flags&syntax.FoldCase == 0
}

func shapeOf(r *syntax.Regexp) shape {
	for r.Op == syntax.OpCapture {
		r = r.Sub[0]
	}
	switch r.Op {
	case syntax.OpStar:
		if r.Sub[0].Op == syntax.OpAnyChar {
			return shapeAnything
		}
		if isNotSlash(r.Sub[0]) {
			return shapeSegment
		}
	case syntax.OpPlus:
		if r.Sub[0].Op == syntax.OpAnyChar {
			return shapeSomething
		}
	case syntax.OpQuest:
		if isBelow(r.Sub[0]) {
			return shapeBelow
		}
	}
	return shapeRegexp
}

// isNotSlash reports whether r is [^/].
func isNotSlash(r *syntax.Regexp) bool {
	return r.Op == syntax.OpCharClass && len(r.Rune) == 4 &&
		r.Rune[0] == 0 && r.Rune[1] == '/'-1 && r.Rune[2] == '/'+1 && r.Rune[3] == 0x10ffff
}

// isBelow reports whether r is /.*
func isBelow(r *syntax.Regexp) bool {
	for r.Op == syntax.OpCapture {
		r = r.Sub[0]
	}
	return r.Op == syntax.OpConcat && len(r.Sub) == 2 && isLiteral(r.Sub[0]) && string(r.Sub[0].Rune) == "/" &&
		shapeOf(r.Sub[1]) == shapeAnything
}

// programSize estimates the instructions of a compiled expression; it stops
// counting beyond maxProgram.
func programSize(r *syntax.Regexp) int {
	n := 1 + len(r.Rune)
	for _, sub := range r.Sub {
		if n += programSize(sub); n > maxProgram {
			return n
		}
	}
	if r.Op == syntax.OpRepeat {
		n *= max(r.Min, r.Max, 1)
	}
	return n
}
