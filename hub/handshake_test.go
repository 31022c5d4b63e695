package hub

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/edgekit/edgekit/hub/internal/message"
	"github.com/edgekit/edgekit/hub/internal/wire"
)

func TestProbeAfter(t *testing.T) {
	for name, tt := range map[string]struct {
		asked  time.Duration
		first  bool
		chance float64
		want   time.Duration
	}{
		"just fenced":                {0, true, 0.9, 0},
		"by a server that is silent": {0, false, 0, probeEvery},
		"with jitter":                {0, false, 0.5, probeEvery + probeEvery/4},
		"when the server said":       {2 * time.Minute, true, 0, 2 * time.Minute},
		"and jitter":                 {2 * time.Minute, false, 0.5, 2*time.Minute + 30*time.Second},
	} {
		if got := probeAfter(tt.asked, tt.first, tt.chance); got != tt.want {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
}

func TestBackoff(t *testing.T) {
	b := Backoff{}.withDefaults()
	for _, tt := range []struct {
		attempt   int
		notBefore time.Duration
		chance    float64
		want      time.Duration
	}{
		{0, 0, 0, 0},
		{0, 0, 0.5, 250 * time.Millisecond},
		{3, 0, 0.5, 2 * time.Second},
		{100, 0, 0.5, 15 * time.Second},
		{1 << 30, 0, 1, 30 * time.Second},
		{0, time.Minute, 0.5, time.Minute + 250*time.Millisecond},
	} {
		if got := b.wait(tt.attempt, tt.notBefore, tt.chance); got != tt.want {
			t.Errorf("attempt %d: %v, want %v", tt.attempt, got, tt.want)
		}
	}
}

func TestAgree(t *testing.T) {
	good := wire.Hello{Min: 1, Max: 1, Node: "a", Instance: "i", Limits: message.DefaultLimits(Limits{})}
	for _, tt := range []struct {
		name string
		edit func(*wire.Hello, *Peer)
		code Code // CodeUnknown for none
	}{
		{"good", func(*wire.Hello, *Peer) {}, CodeUnknown},
		{"a newer edge that knows this version", func(h *wire.Hello, _ *Peer) { h.Max = 9 }, CodeUnknown},
		{"an edge that is too new", func(h *wire.Hello, _ *Peer) { h.Min, h.Max = 2, 9 }, CodeUnsupported},
		{"an edge that is too old", func(h *wire.Hello, _ *Peer) { h.Min, h.Max = 0, 0 }, CodeUnsupported},
		{"another name", func(h *wire.Hello, _ *Peer) { h.Node = "b" }, CodeForbidden},
		{"no proven name", func(h *wire.Hello, p *Peer) { h.Node, p.Name = "", "" }, CodeForbidden},
		{"no instance", func(h *wire.Hello, _ *Peer) { h.Instance = "" }, CodeInvalid},
		{"a long instance", func(h *wire.Hello, _ *Peer) { h.Instance = strings.Repeat("x", 1000) }, CodeInvalid},
		{"an impossible limit", func(h *wire.Hello, _ *Peer) { h.Limits.MaxFrame = 1 }, CodeInvalid},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h, p := good, Peer{Name: "a"}
			tt.edit(&h, &p)
			version, err := agree(h, p)
			if tt.code == CodeUnknown {
				if err != nil || version != 1 {
					t.Errorf("version %d, %v", version, err)
				}
			} else if !errors.Is(err, &Error{Code: tt.code}) {
				t.Errorf("got %v", err)
			}
		})
	}
}
