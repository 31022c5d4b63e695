package edged_test

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/internal/plan"
)

// TestRealRestartAll runs a pod whose init container writes a file of variables into an
// emptyDir. Its main container reads one from there (fileKeyRef) and exits with it: 42 the
// first time, which restarts the whole pod in place, and 0 the second time.
func TestRealRestartAll(t *testing.T) {
	r := startReal(t)
	never := corev1.ContainerRestartPolicyNever
	init := busybox(`if [ -e /v/again ]; then echo "CODE='0' # done"; else echo "CODE='42'"; fi > /v/env; touch /v/again`)
	init.Name = "init"
	main := busybox(`echo code $CODE; exit $CODE`)
	main.Env = []corev1.EnvVar{{Name: "CODE", ValueFrom: &corev1.EnvVarSource{FileKeyRef: &corev1.FileKeySelector{VolumeName: "v", Path: "env", Key: "CODE"}}}}
	main.RestartPolicy = &never
	main.RestartPolicyRules = []corev1.ContainerRestartRule{{
		Action:    corev1.ContainerRestartRuleActionRestartAllContainers,
		ExitCodes: &corev1.ContainerRestartRuleOnExitCodes{Operator: corev1.ContainerRestartRuleOnExitCodesOpIn, Values: []int32{42}},
	}}
	init.VolumeMounts = []corev1.VolumeMount{{Name: "v", MountPath: "/v"}}
	p := newPod("again", main)
	p.Spec.RestartPolicy = corev1.RestartPolicyNever
	p.Spec.InitContainers = []corev1.Container{init}
	p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
	r.put(p)
	r.wait(t, "the end of the pod", 2*time.Minute, func() bool { return r.status[p.UID].Phase == corev1.PodSucceeded })
	r.mu.Lock()
	st := r.status[p.UID]
	r.mu.Unlock()
	for _, name := range []string{"init", "main"} {
		if c := plan.FindStatus(&st, name); c == nil || c.RestartCount != 1 || c.State.Terminated == nil || c.State.Terminated.ExitCode != 0 {
			t.Errorf("%s: %+v", name, c)
		}
	}
	if log := r.log(p, "main"); strings.Contains(log, "code 0") {
		t.Errorf("the first log has %q", log)
	}
}
