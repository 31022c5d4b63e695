package install_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"

	"github.com/edgekit/edgekit/controller/install/apiservertest"
	"github.com/edgekit/edgekit/edged/jobs/v1alpha2"
)

// jobSpecs are specs of jobs by kind, and what the API server says of them; "" accepts.
var jobSpecs = []struct{ kind, spec, refused string }{
	{"NodeUpgradeJob", `{version: v1.24.0, nodeNames: [a]}`, ""},
	{"NodeUpgradeJob", `{version: v1.24.0-rc.1, image: registry.lan:5000/edgekit/node, labelSelector: {}}`, ""},
	{"NodeUpgradeJob", `{version: v1.24.0, image: kubeedge/installation-package, labelSelector: {matchLabels: {site: a}}, concurrency: 3, timeoutSeconds: 0, failureTolerate: "0.25", checkItems: [cpu, mem, disk], requireConfirmation: true,
		imageDigestGatter: {amd64: "sha256:` + strings.Repeat("a", 64) + `", registryAPI: {host: h, token: t}}}`, ""},
	{"NodeUpgradeJob", `{version: v1.24.0, labelSelector: {}, artifact: {oci: registry.lan/edgekit/node, digest: "sha256:` + strings.Repeat("a", 64) + `", signature: {keys: [release]}}, health: {timeout: 10m}, rollbackOnFailure: false,
		rollout: {batches: [{limit: 1, successThreshold: 100%}, {selector: {matchLabels: {ring: canary}}}, {limit: 10%}], disruptionBudget: {groupBy: [site], maxUnavailable: 1, minAvailable: 50%}},
		window: {download: {cron: "0 20 * * *", duration: 8h}, apply: {cron: "0 2 * * 6,0", timeZone: Europe/Berlin, duration: 2h}}, postCompleteDelay: 30s, deadline: 720h, ttlSecondsAfterFinished: 3600}`, ""},
	{"NodeUpgradeJob", `{version: v1.24.0, nodeNames: [a], artifact: {http: "https://files.lan/node.tar", signature: {trustPolicy: release}}}`, ""},
	{"NodeUpgradeJob", `{version: v1.24.0}`, "exactly one of nodeNames and labelSelector"},
	{"NodeUpgradeJob", `{version: v1.24.0, nodeNames: []}`, "exactly one of nodeNames and labelSelector"},
	{"NodeUpgradeJob", `{version: v1.24.0, nodeNames: [a], labelSelector: {}}`, "exactly one of nodeNames and labelSelector"},
	{"NodeUpgradeJob", `{nodeNames: [a]}`, "spec.version: Required"},
	{"NodeUpgradeJob", `{version: 1.24.0, nodeNames: [a]}`, "spec.version"},
	{"NodeUpgradeJob", `{version: v1.24.0, image: node, nodeNames: [a]}`, "spec.image"},
	{"NodeUpgradeJob", `{version: v1.24.0, image: a/b, artifact: {oci: a/b}, nodeNames: [a]}`, "image and artifact"},
	{"NodeUpgradeJob", `{version: v1.24.0, artifact: {oci: a/b, http: "http://a/b"}, nodeNames: [a]}`, "either oci or http"},
	{"NodeUpgradeJob", `{version: v1.24.0, artifact: {digest: "sha256:a", oci: a/b}, nodeNames: [a]}`, "artifact.digest"},
	{"NodeUpgradeJob", `{version: v1.24.0, artifact: {http: "http://u:p@a/b"}, nodeNames: [a]}`, "absolute URL"},
	{"NodeUpgradeJob", `{version: v1.24.0, artifact: {oci: a/b, signature: {}}, nodeNames: [a]}`, "either keys or trustPolicy"},
	{"NodeUpgradeJob", `{version: v1.24.0, artifact: {oci: a/b, signature: {keys: [../x]}}, nodeNames: [a]}`, "signature.keys"},
	{"NodeUpgradeJob", `{version: v1.24.0, nodeNames: [a], failureTolerate: "1.5"}`, "failureTolerate"},
	{"NodeUpgradeJob", `{version: v1.24.0, nodeNames: [a], concurrency: -1}`, "concurrency"},
	{"NodeUpgradeJob", `{version: v1.24.0, nodeNames: [a], checkItems: [gpu]}`, "Unsupported value"},
	{"NodeUpgradeJob", `{version: v1.24.0, nodeNames: [a], rollout: {batches: [{}]}}`, "a batch needs"},
	{"NodeUpgradeJob", `{version: v1.24.0, nodeNames: [a], rollout: {batches: [{limit: 0}]}}`, "limit"},
	{"NodeUpgradeJob", `{version: v1.24.0, nodeNames: [a], rollout: {batches: [{limit: 101%}]}}`, "limit"},
	{"NodeUpgradeJob", `{version: v1.24.0, nodeNames: [a], rollout: {disruptionBudget: {groupBy: [site]}}}`, "needs maxUnavailable"},
	{"NodeUpgradeJob", `{version: v1.24.0, nodeNames: [a], window: {apply: {cron: "0 2", duration: 1h}}}`, "cron"},
	{"NodeUpgradeJob", `{version: v1.24.0, nodeNames: [a], window: {apply: {cron: "0 2 * * *"}}}`, "duration: Required"},
	{"NodeUpgradeJob", `{version: v1.24.0, nodeNames: [a], window: {apply: {cron: "0 2 * * *", duration: long}}}`, "duration"},
	{"NodeUpgradeJob", `{version: v1.24.0, nodeNames: [a], concurency: 3}`, "unknown field"},
	{"ImagePrePullJob", `{imagePrePullTemplate: {images: [docker.io/library/nginx:1], nodeNames: [a], imageSecrets: ns/name, retryTimes: 1, checkItems: [disk]}, paused: true}`, ""},
	{"ImagePrePullJob", `{imagePrePullTemplate: {images: [a]}}`, "exactly one of nodeNames and labelSelector is needed in imagePrePullTemplate"},
	{"ImagePrePullJob", `{imagePrePullTemplate: {nodeNames: [a]}}`, "images: Required"},
	{"ImagePrePullJob", `{imagePrePullTemplate: {images: [a], nodeNames: [a], imageSecrets: name}}`, "imageSecrets"},
	{"ConfigUpdateJob", `{updateFields: {modules.edgeHub.heartbeat: "20"}, labelSelector: {}}`, ""},
	{"ConfigUpdateJob", `{labelSelector: {}}`, "updateFields: Required"},
	{"ConfigUpdateJob", `{updateFields: {a: b}}`, "exactly one of nodeNames and labelSelector"},
}

// jobsSchema checks what the API server itself accepts of jobs, by the schema and its CEL.
func jobsSchema(t *testing.T, a *apiservertest.Server) {
	client, err := dynamic.NewForConfig(a.Admin)
	if err != nil {
		t.Fatal(err)
	}
	in := func(version, kind string) dynamic.NamespaceableResourceInterface {
		return client.Resource(schema.GroupVersionResource{Group: v1alpha2.Group, Version: version, Resource: strings.ToLower(kind) + "s"})
	}
	create := func(t *testing.T, version, kind, spec string) (*unstructured.Unstructured, error) {
		t.Helper()
		u := &unstructured.Unstructured{Object: map[string]any{"apiVersion": v1alpha2.Group + "/" + version, "kind": kind, "metadata": map[string]any{"generateName": "job-"}}}
		var content map[string]any
		if err := yaml.Unmarshal([]byte(strings.ReplaceAll(spec, "\t", "")), &content); err != nil {
			t.Fatal(spec, err)
		}
		u.Object["spec"] = content
		return in(version, kind).Create(t.Context(), u, metav1.CreateOptions{FieldValidation: metav1.FieldValidationStrict})
	}
	for _, tt := range jobSpecs {
		if _, err := create(t, "v1alpha2", tt.kind, tt.spec); (err == nil) != (tt.refused == "") || err != nil && !strings.Contains(err.Error(), tt.refused) {
			t.Errorf("%s %s: %v, want %q", tt.kind, tt.spec, err, tt.refused)
		}
	}
	t.Run("examples", func(t *testing.T) {
		files, err := filepath.Glob("../../examples/jobs/*.yaml")
		if err != nil || len(files) != 3 {
			t.Fatal(files, err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			u := new(unstructured.Unstructured)
			if err := yaml.Unmarshal(text, &u.Object); err != nil {
				t.Fatal(err)
			}
			if _, err := in("v1alpha2", u.GetKind()).Create(t.Context(), u, metav1.CreateOptions{FieldValidation: metav1.FieldValidationStrict}); err != nil {
				t.Errorf("%s: %v", file, err)
			}
		}
	})
	t.Run("defaults", func(t *testing.T) {
		u, err := create(t, "v1alpha2", "NodeUpgradeJob", `{version: v1.24.0, nodeNames: [a], health: {}, rollout: {batches: [{limit: 1}]}}`)
		if err != nil {
			t.Fatal(err)
		}
		for path, want := range map[string]any{"concurrency": int64(1), "timeoutSeconds": int64(300), "failureTolerate": "0.1", "rollbackOnFailure": true, "health.timeout": "5m", "health.stable": "60s", "health.requireLink": true, "health.requirePodsReady": true} {
			if got, _, err := unstructured.NestedFieldNoCopy(u.Object, append([]string{"spec"}, strings.Split(path, ".")...)...); got != want || err != nil {
				t.Errorf("%s is %v, want %v (%v)", path, got, want, err)
			}
		}
	})
	t.Run("only paused and cancel change", func(t *testing.T) {
		for kind, spec := range map[string]string{"NodeUpgradeJob": `{version: v1.24.0, nodeNames: [a]}`, "ImagePrePullJob": `{imagePrePullTemplate: {images: [a], nodeNames: [a]}}`, "ConfigUpdateJob": `{updateFields: {a: b}, nodeNames: [a]}`} {
			u, err := create(t, "v1alpha2", kind, spec)
			if err != nil {
				t.Fatal(err)
			}
			for _, step := range []struct{ patch, refused string }{
				{`{"paused": true}`, ""}, {`{"paused": null}`, ""}, {`{"deadline": "1h"}`, "cannot be changed"}, {`{"window": {"apply": {"cron": "0 2 * * *", "duration": "1h"}}}`, "cannot be changed"},
				{map[string]string{"NodeUpgradeJob": `{"version": "v1.25.0"}`, "ImagePrePullJob": `{"imagePrePullTemplate": {"concurrency": 2}}`, "ConfigUpdateJob": `{"updateFields": {"c": "d"}}`}[kind], "cannot be changed"},
				{`{"cancel": true}`, ""}, {`{"paused": true}`, ""}, {`{"cancel": false}`, "cannot be taken back"}, {`{"cancel": null}`, "cannot be taken back"},
			} {
				_, err := in("v1alpha2", kind).Patch(t.Context(), u.GetName(), types.MergePatchType, []byte(`{"spec": `+step.patch+`}`), metav1.PatchOptions{})
				if (err == nil) != (step.refused == "") || err != nil && !strings.Contains(err.Error(), step.refused) {
					t.Errorf("%s %s: %v, want %q", kind, step.patch, err, step.refused)
				}
			}
		}
	})
	t.Run("v1alpha1 loses nothing", func(t *testing.T) {
		u, err := create(t, "v1alpha1", "NodeUpgradeJob", `{version: v1.17.0, nodeNames: [a], imageDigestGatter: {value: "sha256:`+strings.Repeat("b", 64)+`"}, checkItems: [cpu], concurrency: 2, failureTolerate: "0.3", timeoutSeconds: 60, image: a/b}`)
		if err != nil {
			t.Fatal(err)
		}
		newer, err := in("v1alpha2", "NodeUpgradeJob").Get(t.Context(), u.GetName(), metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if value, _, _ := unstructured.NestedString(newer.Object, "spec", "imageDigestGatter", "value"); !strings.HasPrefix(value, "sha256:bb") {
			t.Errorf("imageDigestGatter.value is %q as v1alpha2", value)
		}
		if _, err := in("v1alpha1", "ImagePrePullJob").List(t.Context(), metav1.ListOptions{}); err != nil {
			t.Error(err)
		}
	})
}
