package meta

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"
)

// The stored form of an Object, version 1:
//
//	byte    1, the version of the form
//	byte    flags
//	varint  Stored in milliseconds since 1970, only with flagStored
//	uvarint length of Version, then Version
//	        Body, to the end
//
// The key is not repeated; it is the record's key.
const (
	formObject = 1

	flagDeleted = 1 << 0
	flagOnce    = 1 << 1 // of an early release, never used again
	flagStored  = 1 << 2
	flagsKnown  = flagDeleted | flagOnce | flagStored

	// maxVersionText bounds Object.Version. Kubernetes' resource versions have
	// at most 20 digits.
	maxVersionText = 256
)

// Valid reports whether the key can be stored and read back: Resource and Name
// are set, no field holds a slash except one inside Resource, and none holds
// a NUL or, in Resource, a colon.
func (k Key) Valid() bool {
	resource, sub, hasSub := strings.Cut(k.Resource, "/")
	switch {
	case resource == "", hasSub && sub == "", k.Name == "":
		return false
	case strings.ContainsAny(resource, ":\x00"), strings.ContainsAny(sub, "/:\x00"):
		return false
	}
	return !strings.ContainsAny(k.Namespace, "/\x00") && !strings.ContainsAny(k.Name, "/\x00")
}

// EncodeObject returns the value to store for o under area + o.Key.Path(). The key
// is not part of the value. Stored is kept in milliseconds. A Version of more than
// 256 bytes is cut; no known owner makes one.
func EncodeObject(o Object) []byte {
	var flags byte
	if o.Deleted {
		flags |= flagDeleted
	}
	if !o.Stored.IsZero() {
		flags |= flagStored
	}
	version := o.Version[:min(len(o.Version), maxVersionText)]
	b := make([]byte, 0, 2+2*binary.MaxVarintLen64+len(version)+len(o.Body))
	b = append(b, formObject, flags)
	if flags&flagStored != 0 {
		b = binary.AppendVarint(b, o.Stored.UnixMilli())
	}
	b = binary.AppendUvarint(b, uint64(len(version)))
	b = append(b, version...)
	return append(b, o.Body...)
}

// DecodeObject reads a record of an area that holds objects. The record's key must
// be the area and a Key.Path, its value one of EncodeObject. Body shares the record's
// memory. DecodeObject returns an error for a form that this release does not know.
func DecodeObject(area string, r Record) (Object, error) {
	path, ok := strings.CutPrefix(r.Key, area)
	if !ok {
		return Object{}, fmt.Errorf("meta: key %q is not in area %q", r.Key, area)
	}
	var o Object
	if o.Key, ok = ParsePath(path); !ok {
		return Object{}, fmt.Errorf("meta: key %q names no object", r.Key)
	}
	if err := o.decode(r.Value); err != nil {
		return Object{}, fmt.Errorf("meta: object %s: %w", o.Key, err)
	}
	return o, nil
}

func (o *Object) decode(b []byte) error {
	if len(b) < 2 {
		return errors.New("shorter than its header")
	}
	form, flags := b[0], b[1]
	b = b[2:]
	if form != formObject || flags&^flagsKnown != 0 {
		return fmt.Errorf("form %d with flags %#x is unknown: a newer release may have written it", form, flags)
	}
	o.Deleted = flags&flagDeleted != 0
	if flags&flagStored != 0 {
		ms, n := binary.Varint(b)
		if n <= 0 {
			return errors.New("time is cut off")
		}
		o.Stored, b = time.UnixMilli(ms).UTC(), b[n:]
	}
	size, n := binary.Uvarint(b)
	if n <= 0 || size > maxVersionText || size > uint64(len(b)-n) {
		return errors.New("version is cut off or too long")
	}
	b = b[n:]
	o.Version, o.Body = string(b[:size]), b[size:]
	return nil
}
