package wire

import (
	"unsafe"

	"github.com/edgekit/edgekit/hub/internal/message"
)

// A peer could make a long list of few bytes. So all entries are counted before memory is
// allocated for any, and an empty entry is refused.

// maxEntryMemory is how many bytes of entries may be allocated for each byte of a list,
// besides the buffer of the frame itself.
const maxEntryMemory = 10

// fewEntries is how many entries are accepted whatever the size of the list.
const fewEntries = 64

// countEntries counts the entries of a list, which are field 1 of b, and fails if there
// are more than most, or if their memory is out of proportion to b.
func countEntries(b []byte, what string, most int, size uintptr) (int, error) {
	n := 0
	err := eachField(b, func(v field) error {
		if v.num != 1 {
			return nil
		}
		if n++; n > most {
			return message.Violation("peer lists more %s than the %d that it may", what, most)
		}
		if n > fewEntries && n > maxEntryMemory*len(b)/int(size) {
			return message.Violation("a list of %d bytes has more than %d %s", len(b), n-1, what)
		}
		return nil
	})
	return n, err
}

func (d *decoder) parseVersions(b []byte) (Frame, error) {
	n, err := countEntries(b, "keys", d.versions, unsafe.Sizeof(message.Entry{}))
	if err != nil {
		return nil, err
	}
	d.versions -= n
	var f Versions
	if n > 0 {
		f.Entries = make([]message.Entry, 0, n)
	}
	err = eachField(b, func(v field) error {
		switch v.num {
		case 1:
			e, err := parseEntry(v.b)
			if err != nil {
				return err
			}
			f.Entries = append(f.Entries, e)
		case 2:
			f.Last = v.u != 0
		}
		return nil
	})
	return f, err
}

func parseEntry(b []byte) (message.Entry, error) {
	var e message.Entry
	err := eachField(b, func(v field) error {
		if !parseKey(&e.Key, v) && v.num == 4 {
			e.Version = string(v.b)
		}
		return nil
	})
	if err == nil && e.Key.Name == "" {
		return e, message.Violation("a version without a name")
	}
	return e, err
}

func (d *decoder) parseMarks(b []byte) (Frame, error) {
	most := d.marks
	if d.marked {
		most = d.keys
	}
	n, err := countEntries(b, "sources", most, unsafe.Sizeof(message.Mark{}))
	if err != nil {
		return nil, err
	}
	var f Marks
	if n > 0 {
		f.Entries = make([]message.Mark, 0, n)
	}
	err = eachField(b, func(v field) error {
		switch v.num {
		case 1:
			m, err := parseMark(v.b)
			if err != nil {
				return err
			}
			f.Entries = append(f.Entries, m)
		case 2:
			f.Last = v.u != 0
		}
		return nil
	})
	if !d.marked {
		d.marks -= n
		d.marked = f.Last
	}
	return f, err
}

func parseMark(b []byte) (message.Mark, error) {
	var m message.Mark
	err := eachField(b, func(v field) error {
		switch v.num {
		case 1:
			m.Source = string(v.b)
		case 2:
			m.ID = v.u
		}
		return nil
	})
	if err == nil && m.Source == "" {
		return m, message.Violation("a mark without a source")
	}
	return m, err
}

// MaxEarlier is how many earlier runs a Hello may name.
const MaxEarlier = 4

func appendEarlier(have []string, instance []byte) ([]string, error) {
	if len(instance) == 0 || len(have) == MaxEarlier {
		return nil, message.Violation("an earlier run without an instance, or more than %d", MaxEarlier)
	}
	return append(have, string(instance)), nil
}

// maxOffered is how many capabilities a peer may name.
const maxOffered = 256

func appendCapability(have []string, name []byte) ([]string, error) {
	if len(name) == 0 || len(have) == maxOffered {
		return nil, message.Violation("a capability without a name, or more than %d", maxOffered)
	}
	return append(have, string(name)), nil
}
