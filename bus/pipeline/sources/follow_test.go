package sources

import (
	"context"
	"fmt"
	"math/rand/v2"
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

// files is a folder with a file that a source reads.
type files struct {
	t       *testing.T
	env     pipeline.Env
	name    string
	spec    *v1alpha1.Source
	engine  *engine
	stopRun func() error
}

func newFiles(t *testing.T) *files {
	e := env()
	e.Files, e.State = t.TempDir(), t.TempDir()
	return &files{t: t, env: e, name: filepath.Join(e.Files, "app.log"), spec: &v1alpha1.Source{Name: "in", File: &v1alpha1.FileSource{Path: "app.log"}}, engine: new(engine)}
}

func (f *files) start() {
	f.t.Helper()
	s, err := Open(f.spec, f.env)
	if err != nil {
		f.t.Fatal(err)
	}
	f.stopRun = begin(f.t, s, f.engine)
}

func (f *files) stop() {
	f.t.Helper()
	if err := f.stopRun(); err != nil {
		f.t.Error(err)
	}
}

func (f *files) write(text string) {
	f.t.Helper()
	file, err := os.OpenFile(f.name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		f.t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.WriteString(text); err != nil {
		f.t.Fatal(err)
	}
}

func (f *files) rename(to string) {
	f.t.Helper()
	if err := os.Rename(f.name, filepath.Join(f.env.Files, to)); err != nil {
		f.t.Fatal(err)
	}
}

// want waits for a look at the file and compares the lines since the last call.
func (f *files) want(lines ...string) {
	f.t.Helper()
	time.Sleep(2 * time.Second) // of the bubble
	synctest.Wait()
	if got := f.engine.texts(); fmt.Sprint(got) != fmt.Sprint(lines) {
		f.t.Errorf("got %q, want %q", got, lines)
	}
}

// first waits for a look at the file and returns the first event since the last call of want.
func (f *files) first() pipeline.Event {
	f.t.Helper()
	time.Sleep(time.Second) // of the bubble
	synctest.Wait()
	f.engine.mu.Lock()
	defer f.engine.mu.Unlock()
	if len(f.engine.events) == 0 {
		f.t.Fatal("there is no event")
	}
	return f.engine.events[0]
}

func TestFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFiles(t)
		f.start()
		f.want()
		f.write("one\r\ntwo\nthr")
		f.want("one", "two")
		f.write("ee\n\n")
		f.want("three", "")
		f.rename("app.log.1") // rename
		f.write("four\n")
		f.want("four")
		if b, err := os.ReadFile(f.name); err != nil || os.WriteFile(filepath.Join(f.env.Files, "app.log.2"), b, 0o600) != nil || os.Truncate(f.name, 0) != nil {
			t.Fatal(err)
		}
		f.want()
		f.write("5\n") // copy and truncate
		f.want("5")
		f.write("end without a line break")
		f.rename("app.log.3")
		f.want()
		f.write("six\n")
		f.want("end without a line break", "six")
		f.stop()
	})
}

// TestFileAfterRestart goes on where it was, also when the file was rotated meanwhile, and gives
// what was not safe again with the same ids.
func TestFileAfterRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFiles(t)
		f.start()
		f.write("one\ntwo\n")
		f.want("one", "two")
		f.stop()
		f.write("three\n")
		f.start()
		f.want("three")
		f.engine.set(true)
		f.write("four\n")
		first := f.first().ID
		f.want("four")
		f.stop()
		f.engine.safe, f.engine.hold = nil, false // a kill
		f.start()
		if again := f.first(); again.ID != first || !again.Resend {
			t.Errorf("%s became %s", first, again.ID)
		}
		f.want("four")
		f.stop()
		f.write("five\n")
		f.rename("app.log.1")
		f.write("six\n")
		f.start()
		f.want("five", "six")
		f.stop()
		if err := os.RemoveAll(f.env.Files); err != nil {
			t.Fatal(err)
		}
		_ = os.Mkdir(f.env.Files, 0o700)
		f.write("another file\n")
		f.start()
		f.want("another file")
		f.stop()
	})
}

func TestFileFromEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFiles(t)
		f.spec.File.From = "end"
		f.write("old\nbegun")
		f.start()
		f.want()
		f.write(" and ended\n")
		f.want("begun and ended")
		f.stop()
		f.write("meanwhile\n")
		f.start()
		f.want("meanwhile")
		f.stop()
	})
}

func TestLongLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFiles(t)
		f.start()
		f.write("a\n" + strings.Repeat("x", 3<<20))
		f.want("a")
		f.write("xxx\nb\n")
		f.want("b")
		f.write("c\n")
		f.want("c")
		f.stop()
	})
}

// TestFileStaysInside reads nothing outside of the folder, and waits for no FIFO.
func TestFileStaysInside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFiles(t)
		secret := filepath.Join(t.TempDir(), "secret")
		if err := os.WriteFile(secret, []byte("sesame\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(secret, f.name); err != nil {
			t.Fatal(err)
		}
		f.start()
		time.Sleep(time.Second)
		synctest.Wait()
		if err := f.stopRun(); err == nil || !strings.Contains(err.Error(), "no regular file") {
			t.Error(err)
		}
		f.want()
	})
}

// TestRotations rotates at random moments while lines are written, with restarts: each line
// comes, and with one id.
func TestRotations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(1, 2))
		f := newFiles(t)
		f.start()
		ids := make(map[string]string)
		lines := 0
		collect := func() {
			f.engine.mu.Lock()
			defer f.engine.mu.Unlock()
			for _, e := range f.engine.events {
				text := string(e.Data.([]byte))
				if before, ok := ids[e.ID]; ok && before != text {
					t.Errorf("id %s is that of %s and %s", e.ID, before, text)
				}
				ids[e.ID] = text
			}
			f.engine.events = nil
		}
		for n := range 400 {
			f.write(fmt.Sprintf("line %d\n", lines))
			lines++
			switch rng.IntN(12) {
			case 0:
				f.rename(fmt.Sprintf("app.log.%d", n))
				f.write(fmt.Sprintf("line %d\n", lines))
				lines++
			case 1:
				f.stop()
				f.start()
			case 2:
				f.engine.set(rng.IntN(2) == 0)
			}
			time.Sleep(time.Duration(rng.IntN(1000)) * time.Millisecond)
			collect()
		}
		f.engine.set(false)
		time.Sleep(5 * time.Second)
		f.stop()
		collect()
		found := make(map[string]bool)
		for _, text := range ids {
			found[text] = true
		}
		for n := range lines {
			if !found[fmt.Sprintf("line %d", n)] {
				t.Errorf("line %d is lost", n)
			}
		}
	})
}

func TestPodLogs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		folder, state := t.TempDir(), t.TempDir()
		write := func(pod, container, file, text string) {
			dir := filepath.Join(folder, pod, container)
			if err := os.MkdirAll(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			f, err := os.OpenFile(filepath.Join(dir, file), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			_, _ = f.WriteString(text)
		}
		const stamp = "2026-01-02T03:04:05.6Z "
		labels := map[string]map[string]string{"web": {"app": "web"}, "db": {"app": "db"}, "web2": {"app": "web"}}
		logs, err := NewPodLogs(PodLogsConfig{Folder: folder, State: state, Labels: func(_ context.Context, _, pod, _ string) (map[string]string, error) { return labels[pod], nil }})
		if err != nil {
			t.Fatal(err)
		}
		env := env()
		env.Logs = logs
		spec := &v1alpha1.Source{Name: "in", ContainerLogs: &v1alpha1.ContainerLogsSource{PodSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}, Container: "main"}}
		f := &files{t: t, env: env, spec: spec, engine: new(engine)}
		write("plant_web_u1", "main", "0.log", stamp+"stdout F before\n")
		write("plant_db_u2", "main", "0.log", stamp+"stdout F other pod\n")
		write("other_web_u3", "main", "0.log", stamp+"stdout F other namespace\n")
		f.start()
		f.want()
		write("plant_web_u1", "main", "0.log", stamp+"stdout F one\n"+stamp+"stdout P two \n"+stamp+"stderr F err\nno entry\n"+stamp+"stdout F halves\n")
		write("plant_web_u1", "side", "0.log", stamp+"stdout F other container\n")
		write("plant_db_u2", "main", "0.log", stamp+"stdout F other pod\n")
		one := f.first()
		if one.ID == "" || one.Subject != "plant/web/main" || one.Extensions["stream"] != "stdout" || one.Time.Nanosecond() != 6e8 || one.Type != TypeLog {
			t.Errorf("%+v", one)
		}
		f.want("one", "err", "two halves")
		write("plant_web2_u4", "main", "0.log", stamp+"stdout F a new pod\n")
		f.want("a new pod")
		write("plant_web_u1", "main", "1.log", stamp+"stdout F a restart\n")
		f.want("a restart")
		write("plant_web_u1", "main", "1.log", stamp+"stdout P begun \n")
		f.want()
		f.stop()
		write("plant_web_u1", "main", "1.log", stamp+"stdout F and ended\n")
		f.start()
		f.want("begun and ended")
		if err := os.RemoveAll(filepath.Join(folder, "plant_web2_u4")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		f.want()
		if places, _ := filepath.Glob(filepath.Join(state, "log-*")); len(places) != 2 {
			t.Errorf("%v are left", places)
		}
		f.stop()
		none, _ := NewPodLogs(PodLogsConfig{Folder: folder})
		if err := none.Follow(t.Context(), "x", *spec.ContainerLogs, nil); err == nil || !strings.Contains(err.Error(), "does not know the labels") {
			t.Error(err)
		}
	})
}
