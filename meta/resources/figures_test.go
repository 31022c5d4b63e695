package resources_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/edgekit/edgekit/meta/resources"
)

func TestFigures(t *testing.T) {
	for _, f := range []resources.Figures{
		{},
		{StoreFill: 42, ClockAhead: -3 * time.Second, TwinsStale: 2, Certificate: time.Date(2027, 1, 2, 3, 4, 5, 0, time.UTC)},
		{StoreFill: 100, ClockAhead: -56 * 365 * 24 * time.Hour, TwinsStale: 1_000_000},
	} {
		if got, err := resources.ParseFigures(f.String()); err != nil || got != f {
			t.Errorf("%v: %v, %v", f, got, err)
		}
	}
	wild := resources.Figures{StoreFill: 1 << 40, ClockAhead: math.MinInt64, TwinsStale: -1}
	if _, err := resources.ParseFigures(wild.String()); err != nil {
		t.Errorf("%s: %v", wild, err)
	}
	good := resources.Figures{}.String()
	for _, bad := range []string{
		"", "x", good + " ", strings.Replace(good, "0%", "101%", 1), strings.Replace(good, "0%", "-1%", 1), strings.Replace(good, "0%", "00%", 1),
		strings.Replace(good, "0 twins", "1000001 twins", 1), strings.Replace(good, "is 0s", "is 99999999999s", 1), strings.Replace(good, "unknown", "soon", 1),
		strings.Replace(good, "unknown", "2027-01-02T03:04:05+01:00", 1), strings.Replace(good, "unknown", strings.Repeat("9", 1<<20), 1),
	} {
		if f, err := resources.ParseFigures(bad); err == nil {
			t.Errorf("%.80q is accepted: %v", bad, f)
		}
	}
}

func FuzzParseFigures(f *testing.F) {
	f.Add(resources.Figures{}.String())
	f.Add(resources.Figures{StoreFill: 42, ClockAhead: -3 * time.Second, TwinsStale: 2, Certificate: time.Date(2027, 1, 2, 3, 4, 5, 0, time.UTC)}.String())
	f.Fuzz(func(t *testing.T, text string) {
		got, err := resources.ParseFigures(text)
		if err == nil && got.String() != text {
			t.Errorf("%q became %q", text, got)
		}
	})
}
