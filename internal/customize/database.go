package customize

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A database is a file of colon-separated lines as passwd(5), group(5) and
// shadow(5) are, with the read-only one behind it that nss-altfiles reads from
// /usr/lib. Lines keep their order, comments and NIS lines their place.
type database struct {
	path    string // relative, "etc/passwd"
	lines   []string
	rows    map[string]int // of names, into lines
	distant map[string]string
	changed bool
}

// open reads a database; ok is false if the image has none.
func (c *changes) open(p string, fields int) (db *database, ok bool, err error) {
	text, ok, err := c.read(p)
	if err != nil {
		return nil, false, err
	}
	db = &database{path: p, rows: map[string]int{}, distant: map[string]string{}}
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if db.add(line); isRow(line) && strings.Count(line, ":") < fields-1 {
			return nil, false, fmt.Errorf("reading %q in the image: the line of %q has too few fields", "/"+p, nameOf(line))
		}
	}
	db.changed = false
	name := strings.TrimPrefix(p, "etc/")
	text, _, err = c.read("usr/lib/" + name)
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if isRow(line) && strings.Count(line, ":") >= fields-1 {
			db.distant[nameOf(line)] = line
		}
	}
	return db, ok, err
}

func isRow(line string) bool {
	return line != "" && line[0] != '#' && line[0] != '+' && line[0] != '-' && strings.Contains(line, ":")
}

func nameOf(line string) string {
	name, _, _ := strings.Cut(line, ":")
	return name
}

// add appends a line.
func (d *database) add(line string) {
	if name := nameOf(line); isRow(line) {
		if _, twice := d.rows[name]; !twice {
			d.rows[name] = len(d.lines)
		}
	}
	d.lines = append(d.lines, line)
	d.changed = true
}

// row is the fields of a name, wherever they are; nil if there are none.
func (d *database) row(name string) []string {
	if i, ok := d.rows[name]; ok {
		return strings.Split(d.lines[i], ":")
	}
	if line, ok := d.distant[name]; ok {
		return strings.Split(line, ":")
	}
	return nil
}

// set replaces the line of a name or appends one. A line from /usr/lib is
// copied to /etc, which is asked first.
func (d *database) set(fields []string) {
	line := strings.Join(fields, ":")
	i, ok := d.rows[fields[0]]
	if !ok {
		d.add(line)
	} else if d.lines[i] != line {
		d.lines[i] = line
		d.changed = true
	}
}

// all yields the fields of every name, those of /usr/lib last.
func (d *database) all(yield func(fields []string) bool) {
	for _, line := range d.lines {
		if isRow(line) && !yield(strings.Split(line, ":")) {
			return
		}
	}
	for name, line := range d.distant {
		if _, here := d.rows[name]; !here && !yield(strings.Split(line, ":")) {
			return
		}
	}
}

// ids are the numbers in field 2, each with the least name that has it.
func (d *database) ids() map[int]string {
	ids := map[int]string{}
	for fields := range d.all {
		id, err := strconv.Atoi(fields[2])
		if old, taken := ids[id]; err == nil && (!taken || fields[0] < old) {
			ids[id] = fields[0]
		}
	}
	return ids
}

// id is the number of a name.
func (d *database) id(name string) (int, bool) {
	fields := d.row(name)
	if fields == nil {
		return 0, false
	}
	id, err := strconv.Atoi(fields[2])
	return id, err == nil
}

// text is the whole file.
func (d *database) text() string { return strings.Join(d.lines, "\n") + "\n" }

// allocate returns the number after the highest in use, or the lowest free one
// when those are used up, as useradd does. Numbers of reserved are passed over.
func allocate(used map[int]string, reserved map[int]bool, in idRange) (int, error) {
	next := in.low
	for id := range used {
		if id >= next && id <= in.high {
			next = id + 1
		}
	}
	for _, start := range []int{next, in.low} {
		for id := start; id <= in.high; id++ {
			if _, taken := used[id]; !taken && !reserved[id] {
				return id, nil
			}
		}
	}
	return 0, fmt.Errorf("all numbers from %d to %d are in use\nhint: set UID_MAX and GID_MAX in the image's /etc/login.defs", in.low, in.high)
}

// addMember appends a name to a comma-separated list.
func addMember(list, name string) string {
	members := strings.FieldsFunc(list, func(r rune) bool { return r == ',' })
	if !slices.Contains(members, name) {
		members = append(members, name)
	}
	return strings.Join(members, ",")
}
