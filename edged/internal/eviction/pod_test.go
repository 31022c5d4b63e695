package eviction

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// newPod is a pod with one container and edits of it.
func newPod(name string, edits ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(name)}}
	p.Spec.Containers = []corev1.Container{{Name: "main"}}
	for _, edit := range edits {
		edit(p)
	}
	return p
}

func requests(name corev1.ResourceName, text string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{name: resource.MustParse(text)}
	}
}

func limits(text string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Containers[0].Resources.Limits = corev1.ResourceList{corev1.ResourceEphemeralStorage: resource.MustParse(text)}
	}
}

func ofPriority(n int32) func(*corev1.Pod) { return func(p *corev1.Pod) { p.Spec.Priority = &n } }

func emptyDir(name string, medium corev1.StorageMedium, limit string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		q := resource.MustParse(limit)
		p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: medium, SizeLimit: &q}}})
	}
}

// uses is a usage of memory and processes.
func uses(memory, processes uint64) Usage { return Usage{Memory: &memory, Processes: &processes} }

// wrote is a usage of the disk, one inode for ten bytes.
func wrote(layer, logs, volume uint64) Usage {
	return Usage{
		Containers: []ContainerUsage{{Name: "main", Layer: &Disk{layer, layer / 10}, Logs: &Disk{logs, logs / 10}}},
		Volumes:    map[string]Disk{"v": {volume, volume / 10}},
	}
}

func TestRank(t *testing.T) {
	one, two, split := Layout{}, Layout{Images: true}, Layout{Images: true, Split: true}
	for name, tt := range map[string]struct {
		signal Signal
		layout Layout
		pods   []*corev1.Pod
		usage  map[types.UID]Usage
		want   string
	}{
		"who uses more than it requests goes before all others, whatever the priority": {
			signal: MemoryAvailable,
			pods:   []*corev1.Pod{newPod("within", requests("memory", "100"), ofPriority(-5)), newPod("beyond", requests("memory", "10"), ofPriority(1000))},
			usage:  map[types.UID]Usage{"within": uses(100, 1), "beyond": uses(11, 1)},
			want:   "beyond within",
		},
		"then the lower priority": {
			signal: MemoryAvailable,
			pods:   []*corev1.Pod{newPod("high", ofPriority(10)), newPod("low"), newPod("lowest", ofPriority(-1))},
			usage:  map[types.UID]Usage{"high": uses(300, 1), "low": uses(200, 1), "lowest": uses(100, 1)},
			want:   "lowest low high",
		},
		"then who uses most beyond its request": {
			signal: AllocatableMemoryAvailable,
			pods:   []*corev1.Pod{newPod("a", requests("memory", "100")), newPod("b", requests("memory", "500")), newPod("c")},
			usage:  map[types.UID]Usage{"a": uses(300, 1), "b": uses(600, 1), "c": uses(150, 1)},
			want:   "a c b",
		},
		"among those within their requests, who is nearest to it": {
			signal: MemoryAvailable,
			pods:   []*corev1.Pod{newPod("far", requests("memory", "100")), newPod("near", requests("memory", "100"))},
			usage:  map[types.UID]Usage{"far": uses(10, 1), "near": uses(90, 1)},
			want:   "near far",
		},
		"whose usage is not known goes first": {
			signal: MemoryAvailable,
			pods:   []*corev1.Pod{newPod("known"), newPod("unknown", ofPriority(10))},
			usage:  map[types.UID]Usage{"known": uses(300, 1)},
			want:   "unknown known",
		},
		"process ids: the priority, then the number": {
			signal: PIDAvailable,
			pods:   []*corev1.Pod{newPod("many", ofPriority(1)), newPod("few"), newPod("more")},
			usage:  map[types.UID]Usage{"many": uses(1, 500), "few": uses(1, 5), "more": uses(1, 50)},
			want:   "more few many",
		},
		"one disk: all that is written counts": {
			signal: ImageFsAvailable, layout: one,
			pods:  []*corev1.Pod{newPod("layer"), newPod("logs"), newPod("volume"), newPod("all")},
			usage: map[types.UID]Usage{"layer": wrote(100, 0, 0), "logs": wrote(0, 110, 0), "volume": wrote(0, 0, 120), "all": wrote(50, 50, 50)},
			want:  "all volume logs layer",
		},
		"a request of storage": {
			signal: NodeFsAvailable, layout: one,
			pods:  []*corev1.Pod{newPod("requests", requests("ephemeral-storage", "200")), newPod("not")},
			usage: map[types.UID]Usage{"requests": wrote(190, 0, 0), "not": wrote(10, 0, 0)},
			want:  "not requests",
		},
		"inodes are not requested": {
			signal: NodeFsInodesFree, layout: one,
			pods:  []*corev1.Pod{newPod("requests", requests("ephemeral-storage", "200")), newPod("not")},
			usage: map[types.UID]Usage{"requests": wrote(190, 0, 0), "not": wrote(20, 0, 0)},
			want:  "requests not",
		},
		"images apart: volumes and logs on nodefs": {
			signal: NodeFsAvailable, layout: two,
			pods:  []*corev1.Pod{newPod("layer"), newPod("logs"), newPod("volume")},
			usage: map[types.UID]Usage{"layer": wrote(1000, 0, 0), "logs": wrote(0, 110, 0), "volume": wrote(0, 0, 120)},
			want:  "volume logs layer",
		},
		"images apart: writable layers on imagefs": {
			signal: ImageFsAvailable, layout: two,
			pods:  []*corev1.Pod{newPod("logs"), newPod("layer")},
			usage: map[types.UID]Usage{"layer": wrote(10, 0, 0), "logs": wrote(0, 110, 500)},
			want:  "layer logs",
		},
		"writable layers beside volumes": {
			signal: ContainerFsAvailable, layout: split,
			pods:  []*corev1.Pod{newPod("volume"), newPod("layer")},
			usage: map[types.UID]Usage{"layer": wrote(130, 0, 0), "volume": wrote(0, 0, 120)},
			want:  "layer volume",
		},
		"writable layers beside volumes: nothing of pods is on imagefs": {
			signal: ImageFsAvailable, layout: split,
			pods:  []*corev1.Pod{newPod("first"), newPod("layer")},
			usage: map[types.UID]Usage{"layer": wrote(130, 0, 0), "first": wrote(0, 0, 120)},
			want:  "first layer",
		},
	} {
		t.Run(name, func(t *testing.T) {
			before := slices.Clone(tt.pods)
			var got []string
			for _, p := range Rank(tt.pods, tt.usage, tt.signal, tt.layout) {
				got = append(got, p.Name)
			}
			if text := strings.Join(got, " "); text != tt.want {
				t.Errorf("%s, want %s", text, tt.want)
			}
			if !slices.Equal(before, tt.pods) {
				t.Error("the list was changed")
			}
		})
	}
}

func TestIsCritical(t *testing.T) {
	annotated := func(key, value string) func(*corev1.Pod) {
		return func(p *corev1.Pod) { p.Annotations = map[string]string{key: value} }
	}
	for _, tt := range []struct {
		pod  *corev1.Pod
		want bool
	}{
		{newPod("plain"), false},
		{newPod("high", ofPriority(1_000_000_000)), false},
		{newPod("critical", ofPriority(2_000_000_000)), true},
		{newPod("static", annotated("kubernetes.io/config.source", "file")), true},
		{newPod("mirror", annotated(corev1.MirrorPodAnnotationKey, "x")), true},
		{newPod("of the API", annotated("kubernetes.io/config.source", "api")), false},
	} {
		if got := IsCritical(tt.pod); got != tt.want {
			t.Errorf("%s: %t", tt.pod.Name, got)
		}
	}
}

// TestMessage checks that the message is the kubelet's.
func TestMessage(t *testing.T) {
	memory := Threshold{Signal: MemoryAvailable, Value: Value{Quantity: resource.MustParse("100Mi")}}
	disk := Threshold{Signal: NodeFsAvailable, Value: Value{Part: 0.1}}
	inodes := Threshold{Signal: NodeFsInodesFree, Value: Value{Part: 0.05}}
	seen := Observations{MemoryAvailable: {50 << 20, 1 << 30}, NodeFsAvailable: {51200 << 10, 1 << 30}, NodeFsInodesFree: {20, 1000}}
	main := func(u uint64) *Usage {
		return &Usage{Memory: &u, Containers: []ContainerUsage{{Name: "main", Memory: &u, Layer: &Disk{Bytes: u}, Logs: &Disk{Bytes: 1 << 20}}, {Name: "debugger", Memory: &u}}}
	}
	whole := func(p *corev1.Pod) {
		p.Spec.Resources = &corev1.ResourceRequirements{Requests: corev1.ResourceList{"memory": resource.MustParse("20Mi")}}
	}
	for name, tt := range map[string]struct {
		pod    *corev1.Pod
		usage  *Usage
		signal Signal
		want   string
	}{
		"memory": {newPod("web"), main(200 << 20), MemoryAvailable,
			"The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi. Container main was using 200Mi, request is 0, has larger consumption of memory. "},
		"within its request": {newPod("web", requests("memory", "200Mi")), main(200 << 20), MemoryAvailable,
			"The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi. "},
		"a request of the pod as a whole": {newPod("web", whole), main(200 << 20), MemoryAvailable,
			"The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi. Pod web was using 200Mi, request is 20Mi, has larger consumption of memory. Container main was using 200Mi, request is 0, has larger consumption of memory. "},
		"disk": {newPod("web", requests("ephemeral-storage", "1Mi")), main(3 << 20), NodeFsAvailable,
			"The node was low on resource: ephemeral-storage. Threshold quantity: 107374182, available: 50Mi. Container main was using 4Mi, request is 1Mi, has larger consumption of ephemeral-storage. "},
		"inodes": {newPod("web"), main(3 << 20), NodeFsInodesFree, "The node was low on resource: inodes. Threshold quantity: 50, available: 20. "},
		"no usage is known": {newPod("web"), nil, MemoryAvailable,
			"The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi. "},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Message(tt.pod, tt.usage, tt.signal, []Threshold{memory, disk, inodes}, seen); got != tt.want {
				t.Errorf("\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

func TestCheckLimits(t *testing.T) {
	const onDisk, inMemory = corev1.StorageMediumDefault, corev1.StorageMediumMemory
	sidecar := func(p *corev1.Pod) {
		always := corev1.ContainerRestartPolicyAlways
		c := corev1.Container{Name: "side", RestartPolicy: &always, Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{"ephemeral-storage": resource.MustParse("10")}}}
		p.Spec.InitContainers = append(p.Spec.InitContainers, c, corev1.Container{Name: "init", Resources: c.Resources})
	}
	side := func(n uint64) Usage {
		return Usage{Containers: []ContainerUsage{{Name: "side", Logs: &Disk{Bytes: n}}, {Name: "init", Logs: &Disk{Bytes: 0}}}}
	}
	for name, tt := range map[string]struct {
		pod            *corev1.Pod
		usage          Usage
		layout         Layout
		limits, layers bool
		want           string
	}{
		"no limit":               {pod: newPod("web"), usage: wrote(1000, 1000, 1000)},
		"a volume keeps":         {pod: newPod("web", emptyDir("v", onDisk, "100")), usage: wrote(1000, 0, 100), limits: true},
		"a volume":               {pod: newPod("web", emptyDir("v", onDisk, "100")), usage: wrote(0, 0, 101), limits: true, want: `emptydirfs.limit: Usage of EmptyDir volume "v" exceeds the limit "100". `},
		"a volume in memory":     {pod: newPod("web", emptyDir("v", inMemory, "100")), usage: wrote(0, 0, 101)},
		"a volume without limit": {pod: newPod("web", emptyDir("v", onDisk, "0")), usage: wrote(0, 0, 101)},
		"a container keeps":      {pod: newPod("web", limits("100")), usage: wrote(50, 50, 0), limits: true, layers: true},
		"the pod": {pod: newPod("web", limits("100")), usage: wrote(50, 40, 11), limits: true, layers: true,
			want: `ephemeralpodfs.limit: Pod ephemeral local storage usage exceeds the total limit of containers 100. `},
		"a container": {pod: newPod("web", limits("100"), sidecar), usage: Usage{Containers: []ContainerUsage{{Name: "main", Layer: &Disk{Bytes: 61}, Logs: &Disk{Bytes: 41}}}}, limits: true, layers: true,
			want: `ephemeralcontainerfs.limit: Container main exceeded its local ephemeral storage limit "100". `},
		"a container that writes to another disk": {pod: newPod("web", limits("100"), sidecar), usage: Usage{Containers: []ContainerUsage{{Name: "main", Layer: &Disk{Bytes: 61}, Logs: &Disk{Bytes: 41}}}}, layout: Layout{Images: true}, limits: true, layers: true},
		"a sidecar": {pod: newPod("web", sidecar), usage: side(11), limits: true, layers: true,
			want: `ephemeralcontainerfs.limit: Container side exceeded its local ephemeral storage limit "10". `},
		"nothing is known": {pod: newPod("web", emptyDir("v", onDisk, "100"), limits("10")), limits: true, layers: true},
	} {
		t.Run(name, func(t *testing.T) {
			if limits, layers := LimitsDisk(tt.pod); limits != tt.limits || layers != tt.layers {
				t.Errorf("it has limits: %t, of layers: %t", limits, layers)
			}
			got := ""
			if x := CheckLimits(tt.pod, tt.usage, tt.layout); x != nil {
				got = fmt.Sprintf("%s: %s", x.Signal, x.Message)
			}
			if got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}
