package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/edgekit/edgekit/cmd/demo/site"
)

// notReadyAfter is cloudcore's --disconnected-pods-not-ready-after, the default.
const notReadyAfter = time.Minute

// clientset reaches the cluster as its administrator.
func clientset(t *testing.T, s *site.Site) kubernetes.Interface {
	t.Helper()
	client, err := s.Clientset()
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// readiness records how the condition Ready of pods changes.
type readiness struct {
	mu   sync.Mutex
	seen map[string][]string // by pod: the status and reason, each time that it changed
	gone []string            // pods that were deleted
}

// watchReadiness follows the pods of a namespace until the test ends.
func watchReadiness(t *testing.T, client kubernetes.Interface, namespace string) *readiness {
	t.Helper()
	r := &readiness{seen: make(map[string][]string)}
	ctx, cancel := context.WithCancel(t.Context())
	list, err := client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range list.Items {
		r.note(&list.Items[i])
	}
	w, err := client.CoreV1().Pods(namespace).Watch(ctx, metav1.ListOptions{ResourceVersion: list.ResourceVersion, TimeoutSeconds: new(int64(3600))})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for e := range w.ResultChan() {
			pod, ok := e.Object.(*corev1.Pod)
			if !ok {
				continue
			}
			if e.Type == "DELETED" {
				r.mu.Lock()
				r.gone = append(r.gone, pod.Name)
				r.mu.Unlock()
				continue
			}
			r.note(pod)
		}
	}()
	t.Cleanup(func() {
		cancel()
		w.Stop()
		<-done
	})
	return r
}

func (r *readiness) note(pod *corev1.Pod) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range pod.Status.Conditions {
		text := strings.TrimSpace(string(c.Status) + " " + c.Reason)
		if all := r.seen[pod.Name]; c.Type == corev1.PodReady && (len(all) == 0 || all[len(all)-1] != text) {
			r.seen[pod.Name] = append(all, text)
		}
	}
}

// of returns what was seen of a pod.
func (r *readiness) of(pod string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.seen[pod])
}

// deleted returns the pods that were deleted.
func (r *readiness) deleted() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.gone)
}

// endpointsOf returns the ready and all endpoints of a Service.
func endpointsOf(ctx context.Context, client kubernetes.Interface, namespace, service string) (ready, all int, err error) {
	list, err := client.DiscoveryV1().EndpointSlices(namespace).List(ctx, metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=" + service})
	if err != nil {
		return 0, 0, err
	}
	for _, s := range list.Items {
		for _, e := range s.Endpoints {
			all++
			if e.Conditions.Ready == nil || *e.Conditions.Ready {
				ready++
			}
		}
	}
	return ready, all, nil
}

// awaitEndpoints waits until a Service has so many ready endpoints.
func (k kube) awaitEndpoints(ctx context.Context, client kubernetes.Interface, namespace, service string, want int) {
	k.t.Helper()
	k.until(ctx, func() error {
		ready, all, err := endpointsOf(ctx, client, namespace, service)
		if err == nil && ready != want {
			err = fmt.Errorf("service %s has %d ready endpoints of %d, want %d", service, ready, all, want)
		}
		return err
	})
}

// untilNotReady waits until the Service of a node that is cut off has no ready endpoints but
// others, and reports how long after the loss of the link that was.
func (k kube) untilNotReady(ctx context.Context, client kubernetes.Interface, node, namespace, service string, others int) {
	k.t.Helper()
	var lost time.Time
	k.until(ctx, func() error {
		n, err := client.CoreV1().Nodes().Get(ctx, node, metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, c := range n.Status.Conditions {
			if c.Type == connected && c.Status == corev1.ConditionFalse {
				lost = c.LastTransitionTime.Time
				return nil
			}
		}
		return fmt.Errorf("node %s still has a link", node)
	})
	k.awaitEndpoints(ctx, client, namespace, service, others)
	took := time.Since(lost)
	k.t.Logf("RESULT disconnected_endpoints_gone_after %.0f seconds", took.Seconds())
	if took < notReadyAfter {
		k.t.Errorf("the endpoints have left %v after the link", took)
	}
}
