package e2e

import (
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/cmd/demo/site"
)

//go:embed phases.yaml
var phasesYAML string

// phasesBegin waits until the pods of phases run: before their deadline, whatever else
// the machine does.
func phasesBegin(t *testing.T, s *site.Site, stamps string) {
	ctx, k := within(t, 30*time.Second), newKube(t, s)
	k.until(ctx, func() error {
		files, err := os.ReadDir(stamps)
		if err == nil && len(files) < len(k.suite(ctx, "phases")) {
			err = fmt.Errorf("of the pods only %v run", files)
		}
		return err
	})
}

// phases follows pods that end late or hang until each has a terminal phase. No
// phase may say that a pod is over while one of its processes still runs: they
// write the time into files of the machine.
func phases(t *testing.T, s *site.Site, stamps string) {
	ctx := within(t, 2*time.Minute)
	k := newKube(t, s)
	over := make(map[string]int64) // when a pod was first seen over, by pod
	k.until(ctx, func() error {
		var waits []string
		attempts := 0
		for name, p := range k.suite(ctx, "phases") {
			if p.Labels["job"] != "" {
				attempts++
			}
			if p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed {
				waits = append(waits, name+" is "+string(p.Status.Phase))
				continue
			}
			if _, seen := over[name]; seen {
				continue
			}
			over[name] = time.Now().UnixMilli()
			for _, c := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
				if c.State.Running != nil {
					t.Errorf("pod %s is %s %s while its container %s runs", name, p.Status.Phase, p.Status.Reason, c.Name)
				}
			}
		}
		if len(waits) > 0 || attempts < 2 {
			return fmt.Errorf("%d attempts of the job; %s", attempts, strings.Join(waits, ", "))
		}
		return nil
	})
	settle := time.NewTimer(2 * time.Second) // whatever still runs writes on
	defer settle.Stop()
	<-settle.C
	all := k.suite(ctx, "phases")
	for name, want := range map[string]corev1.PodPhase{"sidecar": corev1.PodSucceeded, "poststart": corev1.PodFailed, "prestop": corev1.PodFailed} {
		if got := all[name].Status; got.Phase != want || want == corev1.PodFailed && got.Reason != "DeadlineExceeded" {
			t.Errorf("pod %s is %s %s, want %s", name, got.Phase, got.Reason, want)
		}
	}
	type span struct {
		name        string
		first, last int64
	}
	var attempts []span
	for name, at := range over {
		for _, file := range []string{name, name + "-after"} {
			first, last, err := stamped(filepath.Join(stamps, file))
			if errors.Is(err, fs.ErrNotExist) && (file != name || all[name].Labels["job"] != "") {
				continue // a second attempt may not get to run within its deadline
			}
			if err != nil {
				t.Error(err)
				continue
			}
			t.Logf("%s ran for %d ms, and was called over %d ms after its end", file, last-first, at-last)
			if last > at {
				t.Errorf("%s ran for %d ms after its pod was called over", file, last-at)
			}
			if all[name].Labels["job"] != "" {
				attempts = append(attempts, span{file, first, last})
			}
		}
	}
	slices.SortFunc(attempts, func(a, b span) int { return int(a.first - b.first) })
	for i := 1; i < len(attempts); i++ {
		if a, b := attempts[i-1], attempts[i]; b.first <= a.last {
			t.Errorf("%s and %s ran at once for %d ms", a.name, b.name, a.last-b.first)
		}
	}
}

// stamped returns the first and the last time in a file, in milliseconds since 1970.
func stamped(file string) (first, last int64, err error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, 0, err
	}
	lines := strings.Fields(string(text))
	if len(lines) == 0 {
		return 0, 0, fmt.Errorf("%s is empty", file)
	}
	if first, err = strconv.ParseInt(lines[0], 10, 64); err != nil {
		return 0, 0, err
	}
	last, err = strconv.ParseInt(lines[len(lines)-1], 10, 64)
	return first, last, err
}
