package twin

import (
	"encoding/base64"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"
)

// Limits of names and values.
const (
	MaxName  = 128      // bytes in a property's name
	MaxValue = 64 << 10 // bytes in a value
)

// Limits of one device. An update that would exceed one is refused with CodeTooLarge. What
// the owner declares (Put) always has room.
const (
	MaxTwins = 1024    // twins, deleted ones included
	MaxBytes = 1 << 20 // bytes of names and values; a DeviceStatus must fit into etcd
)

// MaxSkew is how far the clock of a mapper may be ahead of the node's. A value that was measured
// later than that, or before the year 2000, is stored without the time: the clock of its mapper
// is wrong, or it counts in another unit than milliseconds. Within MaxSkew it counts as measured
// when it was stored.
const MaxSkew = time.Minute

// year2000 is the first time that is believed, in milliseconds since 1970.
const year2000 = 946_684_800_000

// measured returns the time of a measurement that is kept of a value that is stored now; 0 for
// none. All are in milliseconds.
func measured(said, now int64) int64 {
	if said < year2000 || said > now+MaxSkew.Milliseconds() {
		return 0
	}
	return min(said, now)
}

// source is when the value was measured, or if that is not known, stored.
func (v Value) source() time.Time {
	if v.Measured != 0 {
		return time.UnixMilli(v.Measured)
	}
	return time.UnixMilli(v.Time)
}

// CheckName says why name cannot be a property's: 1 to 128 of a-z, A-Z, 0-9
// and -_.,:/@#.
func CheckName(name string) error {
	if name == "" || len(name) > MaxName {
		return fmt.Errorf("property name %.140q must have 1 to %d characters", name, MaxName)
	}
	for i := range len(name) {
		switch c := name[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == '-', c == '_', c == '.', c == ',', c == ':', c == '/', c == '@', c == '#':
		default:
			return fmt.Errorf("property name %q has a character other than a-z, A-Z, 0-9 and -_.,:/@#", name)
		}
	}
	return nil
}

// CheckType says why typ is not a type of values.
func CheckType(typ string) error {
	switch typ {
	case "string", "int", "integer", "float", "double", "boolean", "bytes", "stream":
		return nil
	}
	return fmt.Errorf("type %.80q is not one of string, int, integer, float, double, boolean, bytes, stream", typ)
}

// isDecimal reports whether a number that Go can parse has only what a decimal number has:
// no NaN, Inf, hexadecimal or underscore, which other languages cannot read.
func isDecimal(value string) bool {
	for _, c := range []byte(value) {
		if (c < '0' || c > '9') && c != '+' && c != '-' && c != '.' && c != 'e' && c != 'E' {
			return false
		}
	}
	return true
}

// CheckValue says why value is not one of type typ: int and integer are 64-bit
// decimal, float and double 64-bit floating point in decimal, boolean is true or false,
// bytes is base64 with padding; string and stream are any text. Every value is
// UTF-8 of at most 64 KiB.
func CheckValue(typ, value string) error {
	if len(value) > MaxValue {
		return fmt.Errorf("value of %d bytes is longer than %d", len(value), MaxValue)
	}
	if !utf8.ValidString(value) {
		return fmt.Errorf("value %.80q is not UTF-8", value)
	}
	ok := true
	switch typ {
	case "string", "stream":
	case "int", "integer":
		_, err := strconv.ParseInt(value, 10, 64)
		ok = err == nil
	case "float", "double":
		_, err := strconv.ParseFloat(value, 64)
		ok = err == nil && isDecimal(value)
	case "boolean":
		ok = value == "true" || value == "false"
	case "bytes":
		_, err := base64.StdEncoding.DecodeString(value)
		ok = err == nil
	default:
		return CheckType(typ)
	}
	if !ok {
		return fmt.Errorf("value %.80q is not of type %s", value, typ)
	}
	return nil
}
