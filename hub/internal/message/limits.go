package message

import (
	"errors"
	"fmt"
)

// Limits bound what one session may use. Each side has its own and tells them
// to the other in the handshake; a peer that exceeds them is cut off. The zero
// value means the defaults.
type Limits struct {
	// MaxFrame is the largest message accepted, in bytes, body and envelope
	// together. 0 means 4 MiB.
	MaxFrame int
	// Window is how many objects of the state class may be on their way here
	// without being acknowledged. 0 means 256.
	Window int
	// WindowBytes is how many bytes they may have together; one larger object
	// may travel alone. 0 means 1 MiB.
	WindowBytes int
	// MaxKeys is how many keys the peer may list when both sides compare what
	// they hold. 0 means 100,000.
	MaxKeys int
	// MaxCalls is how many calls of the peer are answered at the same time;
	// one more is refused with CodeExhausted. 0 means 64.
	MaxCalls int
	// MaxStreams is how many streams of the peer are open at the same time;
	// one more is refused with CodeExhausted. 0 means 4096.
	MaxStreams int
	// MaxCallBytes is how many bytes the peer's calls and streams may hold here
	// together: each opening frame from its arrival until it has been served, and
	// each answer until the peer has read it. Those of up to 4 KiB do not count. An
	// opening frame that finds no room waits for up to 10 s, an answer does not;
	// then CodeExhausted says to come again. 0 means 32 MiB, or MaxFrame if that is
	// more.
	MaxCallBytes int
}

// MinFrame is the least MaxFrame that both sides can work with.
const MinFrame = 1 << 10

// DefaultLimits sets what is zero to its default.
func DefaultLimits(l Limits) Limits {
	for _, f := range []struct {
		v *int
		d int
	}{
		{&l.MaxFrame, 4 << 20}, {&l.Window, 256}, {&l.WindowBytes, 1 << 20},
		{&l.MaxKeys, 100_000}, {&l.MaxCalls, 64}, {&l.MaxStreams, 4096},
	} {
		if *f.v == 0 {
			*f.v = f.d
		}
	}
	if l.MaxCallBytes == 0 {
		l.MaxCallBytes = max(32<<20, l.MaxFrame)
	}
	return l
}

// CheckLimits refuses limits that make no sense. The error begins with the field's name.
func CheckLimits(l Limits) error {
	for _, f := range []struct {
		name string
		v    int
	}{
		{"Limits.MaxFrame", l.MaxFrame}, {"Limits.Window", l.Window}, {"Limits.WindowBytes", l.WindowBytes},
		{"Limits.MaxKeys", l.MaxKeys}, {"Limits.MaxCalls", l.MaxCalls}, {"Limits.MaxStreams", l.MaxStreams},
		{"Limits.MaxCallBytes", l.MaxCallBytes},
	} {
		if f.v < 0 {
			return fmt.Errorf("%s is negative: leave it 0 for the default", f.name)
		}
	}
	if l.MaxFrame != 0 && l.MaxFrame < MinFrame {
		return errors.New("Limits.MaxFrame is below 1 KiB: leave it 0 for 4 MiB")
	}
	if least := DefaultLimits(Limits{MaxFrame: l.MaxFrame}).MaxFrame; l.MaxCallBytes != 0 && l.MaxCallBytes < least {
		return fmt.Errorf("Limits.MaxCallBytes is below MaxFrame, %d bytes, so that no call of that size could come: leave it 0 for the default", least)
	}
	return nil
}
