//go:build linux

package edged_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged"
	"github.com/edgekit/edgekit/edged/dra"
	"github.com/edgekit/edgekit/edged/dra/dratest"
	"github.com/edgekit/edgekit/edged/pluginregistry"
	"github.com/edgekit/edgekit/hub/hubtest"
	"github.com/edgekit/edgekit/meta/memstore"
)

// allocated are claims of a driver's devices, by namespace and name, each reserved for a pod.
type allocated struct {
	driver string
	pods   map[string]string
}

func (a allocated) ResourceClaim(_ context.Context, namespace, name string) ([]byte, error) {
	pod := a.pods[namespace+"/"+name]
	if pod == "" {
		return nil, errors.New("it does not exist")
	}
	return fmt.Appendf(nil, `{"metadata":{"namespace":%q,"name":%q,"uid":"claim-%s"},"status":{"allocation":{"devices":{"results":[{"driver":%q}]}},"reservedFor":[{"uid":%q}]}}`,
		namespace, name, name, a.driver, pod), nil
}

// runPart runs something until the function that it gives is called.
func runPart(t *testing.T, what func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background()) // ends in stop
	done := make(chan error, 1)
	go func() { done <- what(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// TestRealDRA runs pods with claims of a DRA driver that writes CDI files: the container that
// names the claim sees the device, the other does not; the claim is given back at the end of
// the pod, also of one that vanished while the agent was down.
func TestRealDRA(t *testing.T) {
	r := startReal(t)
	r.stop()
	folder, err := os.MkdirTemp("", "dra") // the name of a socket is short
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(folder)
	name := filepath.Base(folder) + ".example.com" // a runtime has one folder of CDI files for all
	store := memstore.New()
	defer store.Close()
	claims := allocated{driver: name, pods: map[string]string{"default/one": "first-uid", "default/two": "second-uid"}}
	var agent atomic.Pointer[edged.Agent]
	begin := func() (stop func()) {
		agent.Store(nil)
		m, err := dra.New(dra.Config{Store: store, Claims: claims, Registered: func() {
			if a := agent.Load(); a != nil {
				a.ResourceDriversChanged()
			}
		}})
		if err != nil {
			t.Fatal(err)
		}
		plugins, err := pluginregistry.New(pluginregistry.Config{
			Folder: filepath.Join(folder, "reg"), Interval: 50 * time.Millisecond, Handlers: map[string]pluginregistry.Handler{pluginregistry.DRAPlugin: m},
		})
		if err != nil {
			t.Fatal(err)
		}
		stopPlugins := runPart(t, plugins.Run)
		r.cfg.ResourceClaims = m
		r.start()
		agent.Store(r.agent)
		return sync.OnceFunc(func() {
			r.stop()
			stopPlugins()
			r.stop, r.cfg.ResourceClaims = func() {}, nil // for the cleanup of startReal
		})
	}
	stop := begin()
	defer func() { stop() }()
	driver, err := dratest.New(dratest.Config{Name: name, Folder: filepath.Join(folder, "driver"), Registry: filepath.Join(folder, "reg"), CDI: "/var/run/cdi"})
	if err != nil {
		t.Fatal(err)
	}
	first := newPod("first", busybox(`test "$DRA_CLAIM" = claim-one`), busybox(`test -z "$DRA_CLAIM"`))
	first.Spec.Containers[1].Name = "other"
	first.Spec.RestartPolicy = corev1.RestartPolicyNever
	first.Spec.ResourceClaims = []corev1.PodResourceClaim{{Name: "device", ResourceClaimName: new("one")}}
	first.Spec.Containers[0].Resources.Claims = []corev1.ResourceClaim{{Name: "device"}}
	r.put(first)
	// The pod comes before its driver, as after a start of the machine.
	r.wait(t, "a wait for the driver", realLimit, func() bool {
		return slices.Contains(r.events, "FailedPrepareDynamicResources: Failed to prepare dynamic resources: prepare dynamic resources: DRA driver "+name+" is not registered")
	})
	defer runPart(t, driver.Run)()
	r.wait(t, "success", realLimit, func() bool { return r.status[first.UID].Phase == corev1.PodSucceeded })
	if got := driver.Prepared(); len(got) != 0 {
		t.Errorf("prepared after the end: %q", got)
	}
	second := newPod("second", busybox(`test "$DRA_CLAIM" = claim-two && sleep 1000`))
	second.Spec.RestartPolicy, second.Spec.TerminationGracePeriodSeconds = corev1.RestartPolicyNever, new(int64(1))
	second.Spec.ResourceClaims = []corev1.PodResourceClaim{{Name: "device", ResourceClaimName: new("two")}}
	second.Spec.Containers[0].Resources.Claims = []corev1.ResourceClaim{{Name: "device"}}
	r.put(second)
	r.wait(t, "ready", realLimit, func() bool { return r.isReady(second.UID) })
	stop()
	driver.Calls()
	stop = begin() // adopts, and asks the driver for nothing
	r.wait(t, "ready again", realLimit, func() bool { return r.isReady(second.UID) })
	if got := driver.Calls(); len(got) != 0 {
		t.Errorf("a restart of the agent has the driver called: %q", got)
	}
	stop()
	r.remove(second.UID)
	stop = begin()
	hubtest.Until(t, "the end of the claim of a pod that vanished", func() bool { return len(driver.Prepared()) == 0 })
}
