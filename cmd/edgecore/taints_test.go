package main

import (
	"errors"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/cmd/internal/program"
)

func TestParseTaints(t *testing.T) {
	for text, want := range map[string]corev1.Taint{
		"edge=true:NoSchedule": {Key: "edge", Value: "true", Effect: corev1.TaintEffectNoSchedule},
		"x.io/edge:NoExecute":  {Key: "x.io/edge", Effect: corev1.TaintEffectNoExecute},
		"a=:PreferNoSchedule":  {Key: "a", Effect: corev1.TaintEffectPreferNoSchedule},
	} {
		if got, err := parseTaints([]string{text}); err != nil || !slices.Equal(got, []corev1.Taint{want}) {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "edge", "edge=true", ":NoSchedule", "edge:"} {
		_, err := parseTaints([]string{text})
		if usage, ok := errors.AsType[*program.UsageError](err); !ok || usage.Setting != "register-with-taints" || !strings.Contains(usage.Reason, "KEY=VALUE:EFFECT") {
			t.Errorf("%q: %v", text, err)
		}
	}
}
