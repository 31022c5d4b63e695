package jobs_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/edged/jobs"
	"github.com/edgekit/edgekit/edged/jobs/v1alpha2"
	"github.com/edgekit/edgekit/hub/decodetest"
)

func ExampleDecodeNodeJob() {
	job, err := jobs.DecodeNodeJob([]byte(`{"kind":"ConfigUpdateJob","name":"slower","uid":"1","phase":"Apply","timeoutSeconds":300,
		"configUpdate":{"updateFields":{"keepalive":"30s"},"rollbackOnFailure":true,"health":{}}}`))
	fmt.Println(jobs.Key(job.Kind, job.Name), job.Phase, job.ConfigUpdate.UpdateFields["keepalive"], err)
	// Output: configupdatejob.slower Apply 30s <nil>
}

func upgrade(change func(*jobs.NodeJob)) *jobs.NodeJob {
	j := &jobs.NodeJob{
		Kind: v1alpha2.KindNodeUpgradeJob, Name: "v1-24", UID: "u", Generation: 1, Phase: v1alpha2.Download, TimeoutSeconds: 300,
		Upgrade: &jobs.Upgrade{Version: "v1.24.0", OCI: "registry.lan/edgekit/node:v1.24.0", Health: jobs.Health{Timeout: metav1.Duration{Duration: time.Minute}}},
	}
	change(j)
	return j
}

func TestDecodeNodeJob(t *testing.T) {
	for want, change := range map[string]func(*jobs.NodeJob){
		"":                       func(*jobs.NodeJob) {},
		"name is no name":        func(j *jobs.NodeJob) { j.Name = "../x" },
		"uid is empty":           func(j *jobs.NodeJob) { j.UID = "" },
		"phase \"Go\" is none":   func(j *jobs.NodeJob) { j.Phase = "Go" },
		"phase \"\" is none":     func(j *jobs.NodeJob) { j.Phase = "" },
		"timeoutSeconds must be": func(j *jobs.NodeJob) { j.TimeoutSeconds = -1 },
		"kind \"Pod\" is not":    func(j *jobs.NodeJob) { j.Kind = "Pod" },
		"must have its own part": func(j *jobs.NodeJob) { j.Kind = v1alpha2.KindConfigUpdateJob },
		"and no other": func(j *jobs.NodeJob) {
			j.ConfigUpdate = &jobs.ConfigUpdate{UpdateFields: map[string]v1alpha2.FieldValue{"a": "b"}}
		},
		"upgrade.version is empty": func(j *jobs.NodeJob) { j.Upgrade.Version = "" },
		"upgrade has oci and http": func(j *jobs.NodeJob) { j.Upgrade.HTTP = "https://a/b" },
		"imagePrePull.images": func(j *jobs.NodeJob) {
			j.Kind, j.Upgrade, j.ImagePrePull = v1alpha2.KindImagePrePullJob, nil, &jobs.ImagePrePull{}
		},
		"configUpdate.updateFields": func(j *jobs.NodeJob) {
			j.Kind, j.Upgrade, j.ConfigUpdate = v1alpha2.KindConfigUpdateJob, nil, &jobs.ConfigUpdate{}
		},
	} {
		body, err := json.Marshal(upgrade(change))
		if err != nil {
			t.Fatal(err)
		}
		got, err := jobs.DecodeNodeJob(body)
		if want == "" && (err != nil || got.Upgrade.Version != "v1.24.0" || got.Upgrade.Health.Timeout.Duration != time.Minute) {
			t.Errorf("%s: %+v %v", body, got, err)
		}
		if want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want an error with %q", body, err, want)
		}
	}
	for body, want := range map[string]string{
		`{`: "cannot be read", `{"kind":1}`: "cannot be read", `{"name":"` + strings.Repeat("a", jobs.MaxNodeJob) + `"}`: "over the limit",
		`{"kind":"NodeUpgradeJob","name":"a","uid":"u","phase":"Apply","timeoutSeconds":1,"upgrade":{"version":"v1.0.0"},"new":[1]}`: "",
	} {
		if _, err := jobs.DecodeNodeJob([]byte(body)); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%.80s: %v, want %q", body, err, want)
		}
	}
}

func TestDecodeReport(t *testing.T) {
	report := func(change func(*jobs.Report)) []byte {
		r := &jobs.Report{UID: "u", Generation: 2, NodeTaskStatus: v1alpha2.NodeTaskStatus{
			Phase: v1alpha2.NodeRolledBack, Reason: "PodsNotReady", ActionFlow: []v1alpha2.ActionStatus{{Action: v1alpha2.ActionCheck, Status: metav1.ConditionTrue}},
		}, AcceptedTime: &metav1.Time{Time: time.Unix(1, 0)}}
		change(r)
		body, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		return body
	}
	for want, change := range map[string]func(*jobs.Report){
		"":                      func(*jobs.Report) {},
		`phase "Lost"`:          func(r *jobs.Report) { r.Phase = "Lost" },
		`phase ""`:              func(r *jobs.Report) { r.Phase = "" },
		"uid is empty":          func(r *jobs.Report) { r.UID = "" },
		"reason has 257 bytes":  func(r *jobs.Report) { r.Reason = strings.Repeat("a", 257) },
		"message has":           func(r *jobs.Report) { r.Message = strings.Repeat("a", 2049) },
		"currentVersion has":    func(r *jobs.Report) { r.CurrentVersion = strings.Repeat("a", 129) },
		"historicVersion has":   func(r *jobs.Report) { r.HistoricVersion = strings.Repeat("a", 129) },
		"log has 65537 bytes":   func(r *jobs.Report) { r.Log = strings.Repeat("a", jobs.MaxLog+1) },
		"actionFlow has 17":     func(r *jobs.Report) { r.ActionFlow = make([]v1alpha2.ActionStatus, 17) },
		"imageStatus 257":       func(r *jobs.Report) { r.ImageStatus = make([]v1alpha2.ImageStatus, 257) },
		"actionFlow[1]: action": func(r *jobs.Report) { r.ActionFlow = append(r.ActionFlow, v1alpha2.ActionStatus{}) },
		"imageStatus[0]: image": func(r *jobs.Report) { r.ImageStatus = []v1alpha2.ImageStatus{{Image: "a", Status: "true"}} },
	} {
		got, err := jobs.DecodeReport(report(change))
		if want == "" && (err != nil || got.Phase != v1alpha2.NodeRolledBack || !got.Done(v1alpha2.ActionCheck) || got.AcceptedTime == nil) {
			t.Errorf("%+v %v", got, err)
		}
		if want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%v, want an error with %q", err, want)
		}
	}
	if _, err := jobs.DecodeReport(report(func(r *jobs.Report) { r.Log = strings.Repeat("\x01", jobs.MaxLog) })); err != nil {
		t.Errorf("a log that is escaped throughout: %v", err)
	}
}

func TestKey(t *testing.T) {
	for _, kind := range jobs.Kinds() {
		if k, n, ok := jobs.ParseKey(jobs.Key(kind, "a.b-c.1")); k != kind || n != "a.b-c.1" || !ok {
			t.Error(k, n, ok)
		}
	}
	for _, bad := range []string{"", "nodeupgradejob", "nodeupgradejob.", "pod.a", "nodeupgradejob.A", "nodeupgradejob.a..b", "nodeupgradejob.-a", "nodeupgradejob.a-", "nodeupgradejob.a/b", "nodeupgradejob." + strings.Repeat("a", 254), "NodeUpgradeJob.a"} {
		if _, _, ok := jobs.ParseKey(bad); ok {
			t.Errorf("%q was taken", bad)
		}
	}
}

func FuzzDecodeNodeJob(f *testing.F) {
	f.Add([]byte(`{"kind":"NodeUpgradeJob","name":"a","uid":"u","phase":"Apply","timeoutSeconds":1,"upgrade":{"version":"v1.0.0"}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		job, err := jobs.DecodeNodeJob(body)
		if err != nil {
			return
		}
		again, err := json.Marshal(job)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := jobs.DecodeNodeJob(again); err != nil && len(again) < jobs.MaxNodeJob/2 {
			t.Fatalf("%s: %v", again, err)
		}
		if kind, name, ok := jobs.ParseKey(jobs.Key(job.Kind, job.Name)); !ok || kind != job.Kind || name != job.Name {
			t.Fatal(job.Kind, job.Name)
		}
	})
}

func FuzzDecodeReport(f *testing.F) {
	f.Add([]byte(`{"uid":"u","phase":"Failure","actionFlow":[{"action":"Check","status":"False"}],"acceptedTime":"2026-01-01T00:00:00Z"}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		report, err := jobs.DecodeReport(body)
		if err != nil {
			return
		}
		if len(report.Log) > jobs.MaxLog || len(report.ActionFlow) > 16 || len(report.ImageStatus) > 256 {
			t.Fatal("a report over its bounds")
		}
	})
}

// TestAttackDecoders: no body makes a decoder allocate more than 20 bytes for each of its own.
func TestAttackDecoders(t *testing.T) {
	units := []string{`{}`, `[]`, `0`, `""`, `"a"`, `null`, `{"action":"a"}`, `{"time":null}`, `{"time":"2026-01-01T00:00:00Z"}`, `{"image":"a"}`}
	job := func(b []byte) { _, _ = jobs.DecodeNodeJob(b) }
	report := func(b []byte) { _, _ = jobs.DecodeReport(b) }
	decodetest.Search(t, []decodetest.Case{
		{Name: "nodejob_images", Before: `{"imagePrePull":{"images":[`, Between: ",", After: `]}}`, Units: units, Tokens: decodetest.JSONTokens(), Decode: job},
		{Name: "nodejob_checks", Before: `{"upgrade":{"checkItems":[`, Between: ",", After: `]}}`, Units: units, Tokens: decodetest.JSONTokens(), Decode: job},
		{Name: "report_actions", Before: `{"actionFlow":[`, Between: ",", After: `]}`, Units: units, Tokens: decodetest.JSONTokens(), Decode: report},
		{Name: "report_images", Before: `{"imageStatus":[`, Between: ",", After: `]}`, Units: units, Tokens: decodetest.JSONTokens(), Decode: report},
	}...)
}
