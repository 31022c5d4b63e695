package resources

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// ConditionDegraded is the type of the Node condition that says whether the node needs somebody to
// look at it, though it runs pods. As with the pressures, False is good. Its message is the text of
// the node's Figures.
const ConditionDegraded = "EdgeDegraded"

// Reasons of that condition.
const (
	ReasonAsExpected          = "AsExpected" // with status False
	ReasonCertificateExpiring = "CertificateExpiring"
	ReasonStoreNearlyFull     = "StoreNearlyFull"
	ReasonClockSkewed         = "ClockSkewed"
)

// Figures are what a node reports of itself for the aggregates of a fleet.
type Figures struct {
	StoreFill   int           // how full the disk of the store is, in percent
	ClockAhead  time.Duration // of the cloud's clock, in whole seconds; negative if behind
	TwinsStale  int           // twins whose actual value is no longer good
	Certificate time.Time     // when the node's certificate ends, in whole seconds; zero if not known
}

// Bounds of figures. Others are not parsed.
const (
	maxFigures    = 160 // bytes of text
	maxTwinsStale = 1_000_000
	maxClockAhead = 4_000_000_000 * time.Second // 126 years; a clock without a battery is in 1970
)

// String is the text that ParseFigures reads, and people too.
func (f Figures) String() string {
	until := "unknown"
	if !f.Certificate.IsZero() {
		until = f.Certificate.UTC().Format(time.RFC3339)
	}
	return fmt.Sprintf("the store's disk is %d%% full, the clock is %+ds ahead, %d twins are stale, the certificate ends %s",
		min(max(f.StoreFill, 0), 100), int64(max(-maxClockAhead, min(f.ClockAhead, maxClockAhead))/time.Second), min(max(f.TwinsStale, 0), maxTwinsStale), until)
}

var errFigures = errors.New("resources: not the text of figures")

// ParseFigures reads what String wrote. It accepts nothing else: the text comes from nodes.
func ParseFigures(text string) (Figures, error) {
	if len(text) > maxFigures {
		return Figures{}, errFigures
	}
	var f Figures
	rest, ok := text, true
	number := func(before, after string, most int64) int64 {
		var part string
		if rest, ok = cutPrefix(rest, before, ok); !ok {
			return 0
		}
		if part, rest, ok = strings.Cut(rest, after); !ok {
			return 0
		}
		n, err := strconv.ParseInt(part, 10, 64)
		ok = err == nil && -most <= n && n <= most
		return n
	}
	f.StoreFill = int(number("the store's disk is ", "% full, ", 100))
	f.ClockAhead = time.Duration(number("the clock is ", "s ahead, ", int64(maxClockAhead/time.Second))) * time.Second
	f.TwinsStale = int(number("", " twins are stale, ", maxTwinsStale))
	rest, ok = cutPrefix(rest, "the certificate ends ", ok)
	if ok && rest != "unknown" {
		at, err := time.Parse(time.RFC3339, rest)
		f.Certificate, ok = at, err == nil
	}
	if !ok || f.String() != text { // one text for one value
		return Figures{}, errFigures
	}
	return f, nil
}

// cutPrefix is strings.CutPrefix that fails if something failed before.
func cutPrefix(s, prefix string, ok bool) (string, bool) {
	if !ok {
		return "", false
	}
	return strings.CutPrefix(s, prefix)
}
