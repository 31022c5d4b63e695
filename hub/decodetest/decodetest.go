// Package decodetest searches for the input that costs a decoder most memory.
//
// A decoder of bytes from outside allocates at most Most bytes for each byte that
// it was given, whatever they are: else one small message makes a program large.
// Each decoder has a test that calls Search with what an attacker would try, and
// the search goes on from there. What is measured is all that was allocated, not
// what stayed, so the garbage collector does not matter.
package decodetest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
)

// Most is how many bytes may be allocated for one byte received.
const Most = 20

// Least is the length of the inputs that are measured: what is smaller may cost a
// little more, since every decoder has something that it allocates once.
const Least = 4 << 10

// Case is one decoder and where the search begins.
type Case struct {
	Name string
	// Decode is given an input; whether it takes it does not matter.
	Decode func(input []byte)
	// Before and After stand around the units, Between stands between two.
	Before, Between, After string
	// Units are what an input is made of, again and again: the smallest things
	// that a decoder takes memory for.
	Units []string
	// Whole are inputs as they are.
	Whole [][]byte
	// Wrap makes an input of the repeated units, for example compressed or in
	// parts; nil leaves them as they are. What it gives is what was received.
	Wrap func([]byte) []byte
	// Tokens are what the search puts into units, besides bytes.
	Tokens []string
}

// JSONTokens are the tokens for a decoder of JSON.
func JSONTokens() []string {
	return []string{"{}", "[]", "{", "}", "[", "]", ",", ":", `"`, `""`, `"a"`, `"a":`, "0", "1", "null", "true", "[[]]", "[{}]", `{"a":{}}`, `\u00e9`, "[0,0]"}
}

// Keys is a JSON object of many keys, all different and short, with one value, for
// a Case's Whole.
func Keys(before, value, after string) []byte {
	b := []byte(before)
	for i := range 9000 {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendQuote(b, strconv.FormatInt(int64(i), 36))
		b = append(append(b, ':'), value...)
	}
	return append(b, after...)
}

// SkipUnderRace skips a test that counts what is allocated.
func SkipUnderRace(t *testing.T) {
	t.Helper()
	if race {
		t.Skip("the race detector drops what is pooled at random, which then is allocated again: make norace runs this")
	}
}

// Search measures each case, prints a line "DECODE name multiple" for it, and
// fails for one that allocates more than Most. ATTACK_STEPS is how long it
// searches, 60 if it is not set.
func Search(t *testing.T, cases ...Case) {
	t.Helper()
	SkipUnderRace(t)
	steps := 60
	if n, err := strconv.Atoi(os.Getenv("ATTACK_STEPS")); err == nil && n > 0 {
		steps = n
	}
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			worst, input := c.search(steps)
			fmt.Fprintf(os.Stdout, "DECODE %s %.1f\n", strings.ReplaceAll(c.Name, " ", "_"), worst)
			if worst > Most {
				t.Errorf("%.1f bytes are allocated for each of %d, at most %d may be: %.120q ... %.60q",
					worst, len(input), Most, input, input[max(0, len(input)-60):])
			}
		})
	}
}

// search climbs from the best units, one change at a time.
func (c Case) search(steps int) (worst float64, input []byte) {
	try := func(in []byte) float64 {
		m := Multiple(c.Decode, in)
		if m > worst {
			worst, input = m, in
		}
		return m
	}
	for _, in := range c.Whole {
		try(in)
	}
	best, bestUnit := 0.0, ""
	for _, u := range c.Units {
		for _, size := range []int{Least, 16 << 10} {
			if m := try(c.input(u, size)); m > best {
				best, bestUnit = m, u
			}
		}
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range steps {
		if bestUnit == "" {
			break
		}
		from := bestUnit
		if random.IntN(3) == 0 {
			from = c.Units[random.IntN(len(c.Units))]
		}
		u := c.change(random, from)
		if m := try(c.input(u, 16<<10)); m > best {
			best, bestUnit = m, u
		}
	}
	for _, size := range []int{256 << 10, 1 << 20} {
		if bestUnit != "" {
			try(c.input(bestUnit, size))
		}
	}
	return worst, input
}

// input repeats a unit up to a size of at least Least.
func (c Case) input(unit string, size int) []byte {
	var b bytes.Buffer
	b.WriteString(c.Before)
	for i := 0; b.Len()+len(c.After) < size; i++ {
		if i > 0 {
			b.WriteString(c.Between)
		}
		b.WriteString(unit)
		if len(unit)+len(c.Between) == 0 {
			b.WriteByte(' ')
		}
	}
	b.WriteString(c.After)
	if c.Wrap != nil {
		return c.Wrap(b.Bytes())
	}
	return b.Bytes()
}

// change makes one change to a unit.
func (c Case) change(random *rand.Rand, unit string) string {
	at := random.IntN(len(unit) + 1)
	end := min(len(unit), at+1+random.IntN(4))
	switch random.IntN(5) {
	case 0: // less
		return unit[:at] + unit[end:]
	case 1: // again
		return unit[:end] + unit[at:]
	case 2: // of another
		other := c.Units[random.IntN(len(c.Units))]
		from := random.IntN(len(other) + 1)
		return unit[:at] + other[from:] + unit[end:]
	case 3:
		if len(c.Tokens) > 0 {
			return unit[:at] + c.Tokens[random.IntN(len(c.Tokens))] + unit[at:]
		}
	}
	if at == len(unit) {
		return unit + string(byte(random.IntN(256)))
	}
	b := []byte(unit)
	b[at] = byte(random.IntN(256))
	return string(b)
}

// Multiple is how many bytes decode allocates for each byte of the input. What a
// pool had to make anew does not count: the least of some runs is taken.
func Multiple(decode func([]byte), input []byte) float64 {
	least := ^uint64(0)
	var before, after runtime.MemStats
	for range 3 {
		runtime.ReadMemStats(&before)
		decode(input)
		runtime.ReadMemStats(&after)
		least = min(least, after.TotalAlloc-before.TotalAlloc)
	}
	return float64(least) / float64(max(len(input), Least))
}
