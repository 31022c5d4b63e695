package jobs

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/edgekit/edgekit/edged/jobs/v1alpha2"
)

const (
	configs = v1alpha2.KindConfigUpdateJob
	pulls   = v1alpha2.KindImagePrePullJob
)

// TestConfigUpdate changes settings: to success, back, and not at all.
func TestConfigUpdate(t *testing.T) {
	for _, bad := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.bad = bad
			w.put(configJob("one", map[string]v1alpha2.FieldValue{"max-pods": "50"}))
			w.live(w.ended(configs, "one"))
			r := w.report(configs, "one")
			phase, flow := v1alpha2.NodeSuccessful, []string{"Check True", "BackUp True", "Update True"}
			if bad {
				phase, flow = v1alpha2.NodeRolledBack, []string{"Check True", "BackUp True", "Update False", "RollBack True"}
			}
			if r.Phase != phase || !equalFlow(r, flow...) || r.AcceptedTime == nil {
				t.Errorf("bad %v: %+v", bad, r)
			}
		})
	}
	for key, reason := range map[string]string{"modules.none": ReasonUnknownKey, "wait": ReasonInvalidSettings} {
		during(t, func(t *testing.T, w *world, p *process) {
			w.mu.Lock()
			w.refused = errors.New("--wait: long is no duration")
			w.mu.Unlock()
			w.put(configJob("one", map[string]v1alpha2.FieldValue{key: "long"}))
			w.wantReport(configs, "one", v1alpha2.NodeFailure, reason, "Check False")
			if p.restarts() || w.settings.trial {
				t.Error("the settings are tried")
			}
		})
	}
	during(t, func(t *testing.T, w *world, p *process) {
		w.put(configJob("one", map[string]v1alpha2.FieldValue{"a": "same"}))
		w.wantReport(configs, "one", v1alpha2.NodeSuccessful, ReasonUpToDate, "Check True")
		if p.restarts() {
			t.Error("it starts again for nothing")
		}
	})
}

// TestPull pulls images with retries, and says which could not be pulled. They are pinned while
// the job is there.
func TestPull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.failures["b:1"], w.failures["c:1"] = 2, 9
		job := pullJob("one", "a:1", "b:1", "a:1", "c:1")
		job.ImagePrePull.RetryTimes, job.ImagePrePull.ImageSecrets, job.ImagePrePull.DockerConfigJSON = 2, "plant/pull", []byte(`{"auths":{}}`)
		w.put(job)
		w.live(w.ended(pulls, "one"))
		r := w.report(pulls, "one")
		if r.Phase != v1alpha2.NodeFailure || r.Reason != ReasonImagesFailed || !strings.HasPrefix(r.Message, "1 of 3 images could not be pulled: c:1") || !equalFlow(r, "Check True", "Pull False") {
			t.Errorf("%+v", r)
		}
		if got := count(w.pulls); got["a:1@pull"] != 1 || got["b:1@pull"] != 3 || got["c:1@pull"] != 3 {
			t.Errorf("pulls %v", got)
		}
		pinned := func(runner *Runner) []string {
			got := runner.PinnedImages()
			slices.Sort(got)
			return got
		}
		if got := pinned(w.alive.runner); !slices.Equal(got, []string{"a:1", "b:1"}) {
			t.Errorf("pinned %q", got)
		}
		p := w.start() // also after a restart
		synctest.Wait()
		if got := pinned(p.runner); !slices.Equal(got, []string{"a:1", "b:1"}) {
			t.Errorf("pinned %q", got)
		}
		if s := p.runner.Stats(); s.Jobs != 1 || s.Pinned != 2 {
			t.Errorf("%+v", s)
		}
		job.Generation = 2 // the cloud sends it again
		w.put(job)
		synctest.Wait()
		rec, err := w.store.Get(t.Context(), recordPrefix+"imageprepulljob.one")
		if err != nil || strings.Contains(string(rec.Value), "dockerConfigJSON") {
			t.Errorf("the credentials stay: %s, %v", rec.Value, err)
		}
		w.remove(pulls, "one")
		synctest.Wait()
		if got := p.runner.PinnedImages(); len(got) > 0 {
			t.Errorf("pinned %q after the job", got)
		}
		p.cancel()
		p.end()
	})
	during(t, func(t *testing.T, w *world, _ *process) {
		w.mu.Lock()
		w.failures["a:1"] = 1
		w.mu.Unlock()
		job := pullJob("one", "a:1")
		job.ImagePrePull.ImageSecrets = "plant/pull"
		w.put(job)
		w.wantReport(pulls, "one", v1alpha2.NodeFailure, ReasonImagesFailed, "Check True", "Pull False")
		if r := w.report(pulls, "one"); !strings.Contains(r.ImageStatus[0].Reason, "did not send the pull secret plant/pull") {
			t.Errorf("%+v", r.ImageStatus)
		}
	})
}

// TestUnsupported: a node without what a job needs says so.
func TestUnsupported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		ctx, cancel := context.WithCancel(t.Context())
		runner, err := New(Config{Store: w.store, Reporter: &process{w: w}})
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- runner.Run(ctx) }()
		w.put(upgradeJob("one"))
		w.put(configJob("one", map[string]v1alpha2.FieldValue{"a": "b"}))
		w.put(pullJob("one", "a:1"))
		for _, kind := range Kinds() {
			w.wantReport(kind, "one", v1alpha2.NodeFailure, ReasonUnsupported, "Check False")
		}
		_, err1 := runner.Upgrade(ctx, LocalUpgrade{OCI: "a/b:c"})
		_, err2 := runner.Rollback(ctx, Rollback{})
		for _, err := range []error{err1, err2} {
			if _, ok := errors.AsType[*RequestError](err); !ok {
				t.Errorf("%v", err)
			}
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// TestRedact takes secrets out of logs.
func TestRedact(t *testing.T) {
	for text, want := range map[string]string{
		"all is well\n":                           "all is well\n",
		"the tokens have expired: renew them\n":   "the tokens have expired: renew them\n",
		"secret default/pull is missing\n":        "secret default/pull is missing\n",
		"a password=hunter2 b\n":                  "a password=[removed]\n",
		`{"token":"abc","b":1}` + "\n":            `{"token":[removed]` + "\n",
		"Authorization: Bearer abc\n":             "Authorization:[removed]\n",
		"sent bearer abc\n":                       "sent bearer [removed]\n",
		"İ password=hunter2\n":                    "İ password=[removed]\n",
		`{\"auths\":{\"r\":{\"auth\":\"YTpi\"}}}`: `{\"auths\":[removed]` + "\n",
		`{"r":{"auth":"YTpi"}}` + "\n":            `{"r":{"auth":[removed]` + "\n",
		`msg="-----BEGIN PRIVATE KEY-----\nabc\n-----END PRIVATE KEY-----\n"` + "\nnext\n": "[removed]\nnext\n",
		"abc\n-----END EC PRIVATE KEY-----\nnext\n":                                        "[removed]\nnext\n",
		"get https://anna:geheim@host/x failed":                                            "get https://[removed]@host/x failed",
		"get https://host/x@y and http://a@b/\n":                                           "get https://host/x@y and http://[removed]@b/\n",
		"-----BEGIN EC PRIVATE KEY-----\nabc\n-----END EC PRIVATE KEY-----\nnext\n":        "[removed]\nnext\n",
		"-----BEGIN CERTIFICATE-----\nabc\n-----END CERTIFICATE-----\n":                    "-----BEGIN CERTIFICATE-----\nabc\n-----END CERTIFICATE-----\n",
	} {
		if got := redact(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
