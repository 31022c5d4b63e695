package hub

import (
	"errors"
	"fmt"
)

// minFrame is the least MaxFrame that both sides can work with.
const minFrame = 1 << 10

// withDefaults sets what is zero.
func withDefaults(l Limits) Limits {
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

func checkLimits(l Limits) error {
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
	if l.MaxFrame != 0 && l.MaxFrame < minFrame {
		return errors.New("Limits.MaxFrame is below 1 KiB: leave it 0 for 4 MiB")
	}
	if least := withDefaults(Limits{MaxFrame: l.MaxFrame}).MaxFrame; l.MaxCallBytes != 0 && l.MaxCallBytes < least {
		return fmt.Errorf("Limits.MaxCallBytes is below MaxFrame, %d bytes, so that no call of that size could come: leave it 0 for the default", least)
	}
	return nil
}
