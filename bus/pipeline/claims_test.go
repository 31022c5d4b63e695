package pipeline_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
)

// TestOneFileForTwoPipelines: the oldest has the file; the other says whose it is, and runs when
// the first is gone.
func TestOneFileForTwoPipelines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var all []*v1alpha1.Pipeline
		for i, name := range []string{"younger", "older"} {
			p := parse(t, ends)
			p.Name = name
			p.CreationTimestamp = metav1.NewTime(start.Add(-time.Duration(i) * time.Hour))
			all = append(all, p)
		}
		all[0].Spec.Sinks[0].File.Path = "./x"
		w.run(all...)
		w.pass(time.Minute)
		have := w.Status()
		if have[0].State != pipeline.Running || have[1].State != pipeline.Failed {
			t.Fatalf("%+v", have)
		}
		f := have[1].Failures
		if len(f) != 1 || f[0].Step != "out" || f[0].Reason != v1alpha1.ReasonSinkFailed || !strings.Contains(f[0].Message, "pipeline plant/older writes to") || f[0].Count > 12 {
			t.Errorf("%+v", f)
		}
		w.Apply(all[:1])
		w.pass(2 * time.Minute)
		if s := w.only(); s.State != pipeline.Running || len(s.Failures) != 0 {
			t.Errorf("%+v", s)
		}
		w.Apply(all) // the one that runs keeps the file
		w.pass(time.Minute)
		if have := w.Status(); have[0].State != pipeline.Failed || have[1].State != pipeline.Running {
			t.Errorf("%+v", have)
		}
		w.stop()
	})
}

// TestPlaces: each pipeline has a folder for what its sources remember, which goes with it.
func TestPlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.env.State = t.TempDir()
		own := filepath.Join(w.env.State, "other") // of the program, not of pipelines
		if err := os.Mkdir(own, 0o700); err != nil {
			t.Fatal(err)
		}
		var folders []string
		w.env.Scope = func(e *pipeline.Env) {
			if err := os.MkdirAll(e.State, 0o700); err != nil {
				t.Error(err)
			}
			folders = append(folders, e.State)
		}
		there := func() (n int) {
			for _, f := range append(folders, own) {
				if _, err := os.Stat(f); err == nil {
					n++
				}
			}
			return n
		}
		p, next := parse(t, ends), parse(t, ends)
		p.UID, next.UID = "1", "2"
		w.run(p)
		w.pass(time.Second)
		if len(folders) != 1 || there() != 2 || filepath.Dir(filepath.Dir(folders[0])) != w.env.State {
			t.Fatalf("%v, %d are there", folders, there())
		}
		mark := filepath.Join(folders[0], "mark")
		if err := os.WriteFile(mark, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		w.Apply([]*v1alpha1.Pipeline{next})
		w.pass(time.Second)
		if _, err := os.Stat(mark); err == nil {
			t.Error("a pipeline has the places of another one of its name")
		}
		w.Apply(nil)
		w.pass(time.Second)
		if n := there(); n != 1 {
			t.Errorf("%d folders are there", n)
		}
		w.stop()
	})
}
