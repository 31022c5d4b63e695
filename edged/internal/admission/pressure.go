package admission

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/internal/eviction"
	"github.com/edgekit/edgekit/edged/internal/plan"
	"github.com/edgekit/edgekit/edged/internal/podspec"
)

// checkPressure refuses pods while the node is short of something. Critical pods are
// always taken. Memory pressure keeps out BestEffort pods that do not tolerate its taint;
// any other pressure keeps out all pods.
// https://kubernetes.io/docs/concepts/scheduling-eviction/node-pressure-eviction/#node-conditions
func (f Request) checkPressure() *plan.Rejection {
	if len(f.Pressures) == 0 || eviction.IsCritical(f.Pod) {
		return nil
	}
	if len(f.Pressures) == 1 && f.Pressures[0] == corev1.NodeMemoryPressure {
		taint := corev1.Taint{Key: corev1.TaintNodeMemoryPressure, Effect: corev1.TaintEffectNoSchedule}
		if podspec.QOSClass(f.Pod) != corev1.PodQOSBestEffort || tolerates(f.Pod, taint) {
			return nil
		}
	}
	return reject(eviction.Reason, fmt.Sprintf("The node had condition: %v. ", f.Pressures))
}
