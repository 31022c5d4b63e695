package main

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/cmd/internal/program"
)

// parseTaints reads --register-with-taints in the kubelet's syntax. edged checks the taints
// themselves.
func parseTaints(texts []string) ([]corev1.Taint, error) {
	var out []corev1.Taint
	for _, text := range texts {
		name, effect, ok := strings.Cut(text, ":")
		if !ok || name == "" || effect == "" {
			return nil, &program.UsageError{Setting: "register-with-taints", Reason: fmt.Sprintf("%q: want KEY=VALUE:EFFECT or KEY:EFFECT, the effect one of NoSchedule, PreferNoSchedule and NoExecute", text)}
		}
		key, value, _ := strings.Cut(name, "=")
		out = append(out, corev1.Taint{Key: key, Value: value, Effect: corev1.TaintEffect(effect)})
	}
	return out, nil
}
