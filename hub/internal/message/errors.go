package message

import (
	"errors"
	"fmt"
	"unicode/utf8"
)

// Errors that callers branch on.
var (
	// ErrTooLarge is returned for a message over the size that both sides
	// agreed on. Nothing was sent.
	ErrTooLarge = errors.New("hub: message is too large")
	// ErrProtocol is wrapped by the errors of a peer that does not keep to the
	// protocol. Its session ends.
	ErrProtocol = errors.New("hub: protocol violation")
	// ErrLagging is what Source.Load returns when the owner cannot yet say what
	// the truth is: its view is older than what the other side has already seen.
	// The session keeps the key and asks again.
	ErrLagging = errors.New("hub: owner is behind its peer")
)

// Violation is an ErrProtocol with its detail.
func Violation(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrProtocol, fmt.Sprintf(format, args...))
}

// TooLarge is an ErrTooLarge for n bytes where limit are allowed.
func TooLarge(n, limit int) error {
	return fmt.Errorf("%w: %d bytes where %d are allowed", ErrTooLarge, n, limit)
}

// ErrorOf turns what a handler returned into what is sent to the peer.
func ErrorOf(err error) *Error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return &Error{Code: CodeUnknown, Text: err.Error()}
}

// maxClip is how many bytes of a text from outside an error or a log line has.
const maxClip = 253

// Clip shortens a text from outside for errors and logs.
func Clip(s string) string { return Truncate(s, maxClip) }

// Truncate returns the first n bytes of s at most, without the part of a rune at their
// end.
func Truncate(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for end := n; end > max(0, n-utf8.UTFMax); end-- {
		if utf8.RuneStart(s[end]) {
			return s[:end]
		}
	}
	return s[:n] // it is not UTF-8 anyway
}
