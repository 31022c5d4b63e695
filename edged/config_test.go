package edged_test

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged"
	"github.com/edgekit/edgekit/edged/runtimetest"
)

func TestConfigErrorsNameTheField(t *testing.T) {
	for want, edit := range map[string]func(*edged.Config){
		"Config.NodeName is":       func(c *edged.Config) { c.NodeName = "" },
		"Config.NodeName \"A_":     func(c *edged.Config) { c.NodeName = "A_b" },
		"Config.Runtime":           func(c *edged.Config) { c.Runtime = nil },
		"Config.Objects":           func(c *edged.Config) { c.Objects = nil },
		"Config.Reports":           func(c *edged.Config) { c.Reports = nil },
		"Config.MaxPods":           func(c *edged.Config) { c.MaxPods = -1 },
		"Config.Root":              func(c *edged.Config) { c.Root = "x" },
		"Config.ImageVerification": func(c *edged.Config) { c.ImageVerification = "Sometimes" },
		"Config.PreloadedImagesAllowlist has no effect": func(c *edged.Config) { c.PreloadedImagesAllowlist = []string{"busybox"} },
		"Config.PreloadedImagesAllowlist: image": func(c *edged.Config) {
			c.PreloadedImagesAllowlist, c.ImageVerification = []string{"busybox:1"}, edged.NeverVerifyAllowlistedImages
		},
		"Config.RegistryPullQPS": func(c *edged.Config) { c.RegistryPullQPS = -1 },
		"Config.RegistryBurst":   func(c *edged.Config) { c.RegistryBurst = -1 },
		"Config.Credentials[0]":  func(c *edged.Config) { c.Credentials = []edged.CredentialSource{nil} },
		"Config.Labels":          func(c *edged.Config) { c.Labels = map[string]string{"a b": "c"} },
	} {
		cfg := edged.Config{NodeName: "n", Runtime: runtimetest.New(), Objects: newCloud(), Reports: newCloud()}
		edit(&cfg)
		if _, err := edged.New(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want one about %s", err, want)
		}
	}
}

// TestRegistrationRefused gives a node taints and annotations that it cannot
// register with: the error names the field and what is wrong.
func TestRegistrationRefused(t *testing.T) {
	taint := func(key, value string, effect corev1.TaintEffect) []corev1.Taint {
		return []corev1.Taint{{Key: key, Value: value, Effect: effect}}
	}
	good := taint("x.io/edge", "true", corev1.TaintEffectNoSchedule)
	for name, tt := range map[string]struct {
		change func(*edged.Config)
		want   string // in the error; "" for none
	}{
		"good ones":       {func(c *edged.Config) { c.Taints, c.Annotations = good, map[string]string{"x.io/Owner": "any text"} }, ""},
		"a taint's key":   {func(c *edged.Config) { c.Taints = taint("a b", "", corev1.TaintEffectNoSchedule) }, "Config.Taints: a b"},
		"a taint's value": {func(c *edged.Config) { c.Taints = taint("a", "b c", corev1.TaintEffectNoSchedule) }, "Config.Taints: a=b c"},
		"an effect":       {func(c *edged.Config) { c.Taints = taint("a", "", "Never") }, "NoSchedule, PreferNoSchedule or NoExecute"},
		"one twice":       {func(c *edged.Config) { c.Taints = append(good, good...) }, "leave one out"},
		"an annotation":   {func(c *edged.Config) { c.Annotations = map[string]string{"a b": ""} }, "Config.Annotations: a b"},
		"the autonomy":    {func(c *edged.Config) { c.Annotations = map[string]string{"edgekit.io/autonomy": "off"} }, "kubectl in the cloud"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := newBench(t).config()
			tt.change(&cfg)
			_, err := edged.New(cfg)
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
}
