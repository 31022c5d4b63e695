package devices_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/devices"
	"github.com/edgekit/edgekit/edged/devices/devicestest"
	"github.com/edgekit/edgekit/edged/internal/podtest"
	"github.com/edgekit/edgekit/edged/internal/topology"
)

// show writes hints, such as "0! 1! 0,1"; preferred ones have a mark.
func show(hints []topology.Hint) string {
	if hints == nil {
		return "any"
	}
	var out []string
	for _, h := range hints {
		text := strings.Trim(strings.ReplaceAll(fmt.Sprint(h.Nodes.Nodes()), " ", ","), "[]")
		if h.Preferred {
			text += "!"
		}
		out = append(out, text)
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func TestHints(t *testing.T) {
	for name, tt := range map[string]struct {
		devices []string
		before  *corev1.Pod // has devices already
		pod     *corev1.Pod
		want    string // of the first container
		ofPod   string
	}{
		"no topology":      {[]string{"a", "b"}, nil, pod("p", "c=1"), "any", "any"},
		"one on each node": {[]string{"a@0", "b@1"}, nil, pod("p", "c=1"), "0! 0,1 1!", "0! 0,1 1!"},
		"two":              {[]string{"a@0", "b@1"}, nil, pod("p", "c=2"), "0,1!", "0,1!"},
		"three":            {[]string{"a@0", "b@1"}, nil, pod("p", "c=3"), "", ""},
		"one is taken":     {[]string{"a@0", "b@1"}, pod("q", "c=1"), pod("p", "c=1"), "0,1 1!", "0,1 1!"},
		"a node would do on an empty machine": {
			[]string{"a@0", "b@0", "d@1"}, pod("q", "c=1"), pod("p", "c=2"), "0,1", "0,1",
		},
		"a node that the machine does not have": {[]string{"a@0", "b@7"}, nil, pod("p", "c=1"), "0!", "0!"},
		"an unplaced device":                    {[]string{"a@1", "b"}, nil, pod("p", "c=1"), "1!", "1!"},
		"it has what it wants":                  {[]string{"a@0", "b@1"}, pod("p", "c=1"), pod("p", "c=1"), "0! 0,1", "0! 0,1"},
		"it has another number":                 {[]string{"a@0", "b@1"}, pod("p", "c=1"), pod("p", "c=2"), "", ""},
		"of the pod as a whole":                 {[]string{"a@0", "b@1", "d@1"}, nil, pod("p", "init:i=1", "c=1", "e=1"), "0! 0,1 1!", "0,1 1!"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newManager(t, nil)
			m.SetNUMANodes(0b11)
			connect(t, m, devices.Options{}, tt.devices...)
			if tt.before != nil {
				if err := admit(t, m, tt.before); err != nil {
					t.Fatal(err)
				}
			}
			p := m.Provider()
			c := slices.Concat(tt.pod.Spec.InitContainers, tt.pod.Spec.Containers)[0]
			if got := show(p.Hints(tt.pod, &c)[widget]); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
			if got := show(p.PodHints(tt.pod)[widget]); got != tt.ofPod {
				t.Errorf("of the pod %q, want %q", got, tt.ofPod)
			}
		})
	}
}

// TestAligned gives devices on the nodes of the hint, as far as they have them, and lets
// the plugin choose among those alone.
func TestAligned(t *testing.T) {
	for name, tt := range map[string]struct {
		want    int
		options devices.Options
		gets    string
		offered string
	}{
		"one":              {1, devices.Options{}, "c:d", ""},
		"both":             {2, devices.Options{}, "c:d,e", ""},
		"more":             {3, devices.Options{}, "c:a,d,e", ""},
		"one preferred":    {1, devices.Options{PreferredAllocation: true}, "c:e", "Preferred d,e"},
		"more, preferred":  {3, devices.Options{PreferredAllocation: true}, "c:d,e,f", "Preferred a,b,d,e,f"},
		"all, and unknown": {5, devices.Options{PreferredAllocation: true}, "c:a,b,d,e,f", "Preferred a,b,d,e,f"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newManager(t, nil)
			plugin, _ := connect(t, m, tt.options, "a@0", "b@0", "d@1", "e@1", "f")
			p := pod("p", fmt.Sprintf("c=%d", tt.want))
			err := m.Provider().Allocate(p, &p.Spec.Containers[0], topology.Hint{Nodes: topology.MaskOf(1)})
			if err = errors.Join(err, m.Prepare(t.Context(), p)); err != nil || has(m, p) != tt.gets {
				t.Errorf("%s, %v; want %s", has(m, p), err, tt.gets)
			}
			if calls := plugin.Calls(); tt.offered != "" && calls[0] != tt.offered {
				t.Errorf("offered %q, want %q", calls[0], tt.offered)
			}
		})
	}
}

// TestNotAdmitted takes back what was reserved when the topology manager refuses a pod, and
// leaves what was allocated.
func TestNotAdmitted(t *testing.T) {
	m := newManager(t, nil)
	connect(t, m, devices.Options{}, "a", "b")
	p, q := pod("p", "c=1"), pod("q", "c=1")
	if err := errors.Join(admit(t, m, p), m.Reserve(q)); err != nil {
		t.Fatal(err)
	}
	m.Provider().Release(p)
	m.Provider().Release(q)
	m.Provider().Release(q)
	if got := has(m, p) + has(m, q); got != "c:a" || m.Has("q") || !m.Has("p") {
		t.Errorf("%s", got)
	}
}

// TestClaimedResource leaves a resource that a resource claim gives alone.
func TestClaimedResource(t *testing.T) {
	m := newManager(t, nil)
	connect(t, m, devices.Options{}, "a")
	p := pod("p", "c=1")
	p.Status.ExtendedResourceClaimStatus = &corev1.PodExtendedResourceClaimStatus{
		RequestMappings: []corev1.ContainerExtendedResourceRequest{{ContainerName: "c", ResourceName: widget}},
	}
	if err := admit(t, m, p); err != nil || has(m, p) != "" || devices.WantsAny(p) {
		t.Errorf("%v, %s", err, has(m, p))
	}
	if !devices.WantsAny(pod("q", "init:i=1", "c")) || devices.WantsAny(podtest.New("Always", "c")) {
		t.Error("WantsAny")
	}
}

var _ devices.Plugin = (*devicestest.Plugin)(nil)
