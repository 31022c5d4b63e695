package message

// traceparentSize is the length of a traceparent of version 00:
// https://www.w3.org/TR/trace-context/#traceparent-header
const traceparentSize = len("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")

// Traceparent returns b as text if it is a traceparent of version 00 with the flag "sampled", and
// otherwise "". A span that is not sampled is no concern of the far side. Other versions, other
// flags and all that is malformed is left out, which costs the trace and never the message.
func Traceparent[T string | []byte](b T) string {
	if len(b) != traceparentSize || b[0] != '0' || b[1] != '0' || b[2] != '-' || b[35] != '-' || b[52] != '-' || b[53] != '0' {
		return ""
	}
	if b[54] != '1' && b[54] != '3' { // sampled, and in level 2 of the specification random
		return ""
	}
	if !hexNotZero(b[3:35]) || !hexNotZero(b[36:52]) {
		return ""
	}
	return string(b)
}

// hexNotZero reports whether b is a number in lower-case hexadecimal other than zero.
func hexNotZero[T string | []byte](b T) bool {
	zero := true
	for i := range len(b) {
		c := b[i]
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
		zero = zero && c == '0'
	}
	return !zero
}
