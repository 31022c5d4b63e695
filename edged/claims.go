package edged

import (
	"context"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edgekit/edgekit/edged/internal/plan"
	"github.com/edgekit/edgekit/edged/internal/podspec"
)

// ResourceClaims has the node's drivers prepare the resource claims of pods (Dynamic
// Resource Allocation). In edgekit it is edged/dra. It remembers over restarts which pods use
// claims. All methods may be called by several goroutines, and again after an error.
type ResourceClaims interface {
	// Load reads what was prepared before. An Agent calls it first, until it works.
	Load(ctx context.Context) error
	// Prepare prepares all claims of a pod. The Agent calls it before each sandbox of the
	// pod. Its error is for the people who look at the pod.
	Prepare(ctx context.Context, pod *corev1.Pod) error
	// CDIDevices lists the CDI devices that a container gets for the claims that it names.
	CDIDevices(pod *corev1.Pod, c *corev1.Container) ([]string, error)
	// Uses reports whether claims of the pod are prepared, or may be.
	Uses(podUID string) bool
	// Unprepare gives the claims of a pod back, of which no process is left.
	Unprepare(ctx context.Context, podUID string) error
	// ResourceStatuses lists the health of the devices that a container gets. A claim that is
	// left out has the health that was last reported.
	ResourceStatuses(pod *corev1.Pod, c *corev1.Container) []corev1.ResourceStatus
	// Pods lists the uids of all pods for which Uses is true.
	Pods() []string
}

// loadClaims reads which claims are prepared, until that works. It is false when ctx ended
// first.
func (a *Agent) loadClaims(ctx context.Context) bool {
	if a.cfg.ResourceClaims == nil {
		return true
	}
	for {
		err := a.cfg.ResourceClaims.Load(ctx)
		if err == nil {
			return true
		}
		if ctx.Err() == nil {
			a.log.Warn("cannot read which resource claims are prepared", "err", err)
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(runtimeRetry):
		}
	}
}

// usesClaims reports whether a pod's resource claims are to be given back at its end.
func (a *Agent) usesClaims(uid types.UID) bool {
	return a.cfg.ResourceClaims != nil && a.cfg.ResourceClaims.Uses(string(uid))
}

// ResourceDriversChanged has the pods that wait for their resource claims try again at once:
// a driver has come.
func (a *Agent) ResourceDriversChanged() {
	a.eachWorker(func(w *worker) {
		if podspec.HasClaims(w.spec()) {
			w.contentChanged()
		}
	})
}

// ResourceHealthChanged has the statuses of these pods reported again: the health of their
// devices changed.
func (a *Agent) ResourceHealthChanged(podUIDs []string) {
	a.eachWorker(func(w *worker) {
		if slices.Contains(podUIDs, string(w.spec().UID)) {
			w.wakeUp()
		}
	})
}

// addClaimHealth adds the health of the devices of their claims to the statuses of containers
// (KEP-4680). After the end of the pod it stays as it was last.
func (w *worker) addClaimHealth(st *corev1.PodStatus) {
	pod := w.spec()
	if w.a.cfg.ResourceClaims == nil || !podspec.HasClaims(pod) {
		return
	}
	for i := range st.ContainerStatuses {
		c := &st.ContainerStatuses[i]
		spec, _ := podspec.FindContainer(pod, c.Name)
		if spec == nil {
			continue
		}
		now := w.a.cfg.ResourceClaims.ResourceStatuses(pod, spec)
		if last := plan.FindStatus(w.last, c.Name); last != nil {
			now = withLastHealth(now, last.AllocatedResourcesStatus)
		}
		for _, s := range now {
			*resourceStatus(c, s.Name) = s
		}
	}
}

// withLastHealth is the health of claims, for those of which none is known now as it was last.
func withLastHealth(now, last []corev1.ResourceStatus) []corev1.ResourceStatus {
	find := func(list []corev1.ResourceStatus, name corev1.ResourceName) int {
		return slices.IndexFunc(list, func(s corev1.ResourceStatus) bool { return s.Name == name })
	}
	var out []corev1.ResourceStatus
	for _, s := range last { // in the order of before: the same health is not reported again
		if i := find(now, s.Name); i >= 0 {
			s = now[i]
		}
		if strings.HasPrefix(string(s.Name), "claim:") {
			out = append(out, s)
		}
	}
	for _, s := range now {
		if find(out, s.Name) < 0 {
			out = append(out, s)
		}
	}
	return out
}
