package leftovers_test

import (
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/edgekit/edgekit/edged/internal/leftovers"
	"github.com/edgekit/edgekit/edged/internal/podcgroups"
	"github.com/edgekit/edgekit/edged/runtime"
	"github.com/edgekit/edgekit/edged/runtimetest"
)

// Uids of the form that an API server gives.
const (
	own   = "11111111-1111-1111-1111-111111111111"
	trace = "22222222-2222-2222-2222-222222222222"
)

// finder makes a Finder of the node "edge" with the pods that have folders.
func finder(t *testing.T, folders ...string) (*leftovers.Finder, *runtimetest.Runtime, string) {
	t.Helper()
	rt, logs := runtimetest.New(), t.TempDir()
	return leftovers.New(leftovers.Config{
		NodeName: "edge", Runtime: rt, Folders: func() []string { return folders }, Groups: podcgroups.New(false), LogRoot: logs, LogLinks: t.TempDir(),
		Logger: slog.New(slog.DiscardHandler),
	}), rt, logs
}

func isOwn(uid types.UID) bool { return uid == own }

// TestOrphans: what is on the node for a pod that is not its own makes that an orphan, unless it
// carries another node's name.
func TestOrphans(t *testing.T) {
	f, _, _ := finder(t)
	other := map[string]string{runtime.AnnotationNode: "other"}
	orphans, links := f.Orphans(leftovers.Scan{
		Sandboxes: []runtime.Sandbox{
			{ID: "s1", PodUID: own}, {ID: "s2", PodUID: "sandbox", Name: "web", Annotations: map[string]string{runtime.AnnotationNode: "edge", runtime.AnnotationPodGrace: "7"}},
			{ID: "s3", PodUID: "others", Annotations: other},
		},
		Containers: []runtime.Container{
			{SandboxID: "s1", PodUID: own}, {SandboxID: "s3", PodUID: "others", Annotations: other},
			{SandboxID: "gone", PodUID: "container", Labels: map[string]string{runtime.LabelPodName: "db"}}, {SandboxID: "gone", PodUID: "theirs", Annotations: other},
		},
		Folders: []string{own, "folder"},
		Traces:  []types.UID{own, trace},
	}, isOwn, time.Now())
	if got, want := slices.Sorted(maps.Keys(orphans)), []types.UID{"container", "folder", "sandbox"}; !slices.Equal(got, want) || links != nil {
		t.Fatalf("orphans %q, want %q; links %q", got, want, links)
	}
	if p := orphans["sandbox"]; p.Name != "web" || p.Spec.TerminationGracePeriodSeconds == nil || *p.Spec.TerminationGracePeriodSeconds != 7 {
		t.Errorf("the pod of a sandbox: %+v", p)
	}
	if p := orphans["container"]; p.Name != "db" {
		t.Errorf("the pod of a container: %+v", p)
	}
}

// TestTracesLast: a folder of logs, a cgroup and a link count only when nobody has owned them for
// a minute, and only under a name that a pod can have.
func TestTracesLast(t *testing.T) {
	f, _, _ := finder(t)
	now := time.Now()
	scan := leftovers.Scan{Traces: []types.UID{trace, "lost+found"}, Dangling: []string{"/logs/a"}}
	for i, want := range []int{0, 0, 1} {
		orphans, links := f.Orphans(scan, isOwn, now.Add(time.Duration(i)*31*time.Second))
		if len(orphans) != want || len(links) != want || want == 1 && orphans[trace] == nil {
			t.Errorf("pass %d: orphans %v, links %q", i, orphans, links)
		}
	}
	// What was owned in between begins anew.
	if orphans, _ := f.Orphans(leftovers.Scan{}, isOwn, now.Add(2*time.Minute)); len(orphans) != 0 {
		t.Error(orphans)
	}
	if orphans, links := f.Orphans(scan, isOwn, now.Add(3*time.Minute)); len(orphans) != 0 || len(links) != 0 {
		t.Errorf("after a pause: orphans %v, links %q", orphans, links)
	}
}

// TestScan: a scan has what the runtime and the disk have.
func TestScan(t *testing.T) {
	f, rt, logs := finder(t, "folder")
	sandbox, err := rt.RunSandbox(t.Context(), &runtime.SandboxConfig{Name: "web", UID: own})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := rt.CreateContainer(t.Context(), sandbox, &runtime.ContainerConfig{Name: "main"}, nil); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(logs, "ns_web_"+trace), 0o755); err != nil {
		t.Fatal(err)
	}
	found, err := f.Scan(t.Context())
	if err != nil || len(found.Sandboxes) != 1 || len(found.Containers) != 1 || !slices.Equal(found.Folders, []string{"folder"}) || !slices.Equal(found.Traces, []types.UID{trace}) {
		t.Errorf("%+v, %v", found, err)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(filepath.Join(logs, "gone"), link); err != nil {
		t.Fatal(err)
	}
	f.RemoveLinks([]string{link})
	if _, err := os.Lstat(link); !os.IsNotExist(err) {
		t.Error("the link is left")
	}
}
