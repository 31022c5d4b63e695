package resources

import (
	"errors"
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

// The text of figures has these words before, between and behind them.
const (
	wordsFill        = "the store's disk is "
	wordsClock       = "% full, the clock is "
	wordsTwins       = "s ahead, "
	wordsCertificate = " twins are stale, the certificate ends "
	wordUnknown      = "unknown"
)

// String is the text that ParseFigures reads, and people too.
func (f Figures) String() string { return string(f.appendTo(nil)) }

func (f Figures) appendTo(b []byte) []byte {
	b = strconv.AppendInt(append(b, wordsFill...), int64(min(max(f.StoreFill, 0), 100)), 10)
	b = strconv.AppendInt(append(b, wordsClock...), int64(max(-maxClockAhead, min(f.ClockAhead, maxClockAhead))/time.Second), 10)
	b = strconv.AppendInt(append(b, wordsTwins...), int64(min(max(f.TwinsStale, 0), maxTwinsStale)), 10)
	b = append(b, wordsCertificate...)
	if f.Certificate.IsZero() {
		return append(b, wordUnknown...)
	}
	return f.Certificate.UTC().AppendFormat(b, time.RFC3339)
}

var errFigures = errors.New("resources: not the text of figures")

// ParseFigures reads what String wrote. It accepts nothing else: the text comes from nodes.
func ParseFigures(text string) (Figures, error) {
	if len(text) > maxFigures {
		return Figures{}, errFigures
	}
	rest, ok := strings.CutPrefix(text, wordsFill)
	number := func(after string, most int64) int64 {
		part, more, found := strings.Cut(rest, after)
		n, err := strconv.ParseInt(part, 10, 64)
		rest, ok = more, ok && found && err == nil && -most <= n && n <= most
		return n
	}
	f := Figures{
		StoreFill:  int(number(wordsClock, 100)),
		ClockAhead: time.Duration(number(wordsTwins, int64(maxClockAhead/time.Second))) * time.Second,
		TwinsStale: int(number(wordsCertificate, maxTwinsStale)),
	}
	if ok && rest != wordUnknown {
		var err error
		f.Certificate, err = time.Parse(time.RFC3339, rest)
		ok = err == nil
	}
	var again [maxFigures]byte
	if !ok || string(f.appendTo(again[:0])) != text { // one text for one value
		return Figures{}, errFigures
	}
	return f, nil
}
