package edged_test

import (
	"strings"
	"testing"

	"github.com/edgekit/edgekit/edged"
	"github.com/edgekit/edgekit/edged/runtimetest"
)

func TestConfigErrorsNameTheField(t *testing.T) {
	for want, edit := range map[string]func(*edged.Config){
		"Config.NodeName is":   func(c *edged.Config) { c.NodeName = "" },
		"Config.NodeName \"A_": func(c *edged.Config) { c.NodeName = "A_b" },
		"Config.Runtime":       func(c *edged.Config) { c.Runtime = nil },
		"Config.Objects":       func(c *edged.Config) { c.Objects = nil },
		"Config.Reports":       func(c *edged.Config) { c.Reports = nil },
		"Config.MaxPods":       func(c *edged.Config) { c.MaxPods = -1 },
		"Config.Root":          func(c *edged.Config) { c.Root = "x" },
		"Config.Labels":        func(c *edged.Config) { c.Labels = map[string]string{"a b": "c"} },
	} {
		cfg := edged.Config{NodeName: "n", Runtime: runtimetest.New(), Objects: newCloud(), Reports: newCloud()}
		edit(&cfg)
		if _, err := edged.New(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want one about %s", err, want)
		}
	}
}
