package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/edged/runtime"
)

// fakeImages is a container runtime with images.
type fakeImages struct {
	name   string // empty means containerd
	images []runtime.Image
	pulled []string
	fail   string // the image that no registry has
}

func (f *fakeImages) Version(context.Context) (runtime.Version, error) {
	if f.name == "" {
		return runtime.Version{Name: "containerd", Version: "2.1.0"}, nil
	}
	return runtime.Version{Name: f.name, Version: "1"}, nil
}
func (f *fakeImages) ListImages(context.Context) ([]runtime.Image, error) { return f.images, nil }
func (f *fakeImages) ImageStatus(_ context.Context, ref string) (runtime.Image, bool, error) {
	for _, img := range f.images {
		if slices.Contains(img.Tags, ref) {
			return img, true, nil
		}
	}
	return runtime.Image{}, false, nil
}
func (f *fakeImages) PullImage(_ context.Context, ref string, _ *runtime.ImageAuth, _ *runtime.SandboxConfig) (string, error) {
	if ref == f.fail {
		return "", errors.New("no such image")
	}
	f.pulled = append(f.pulled, ref)
	return "sha256:1", nil
}
func (f *fakeImages) SandboxImage(context.Context) (string, error) {
	return "registry.k8s.io/pause:3.10", nil
}
func (f *fakeImages) Close() error { return nil }

func (f *fakeImages) flags(t *testing.T, replaced *[]string) imageFlags {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "ctr"), nil, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir)
	return imageFlags{
		machineFlags: machineFlags{DataDir: dir, ConfigFile: filepath.Join(dir, "none.yaml")},
		open:         func(string) (imageRuntime, error) { return f, nil },
		replace: func(_ string, args, _ []string) error {
			*replaced = args
			return nil
		},
	}
}

func twoImages() *fakeImages {
	return &fakeImages{images: []runtime.Image{
		{ID: "sha256:a", Tags: []string{"registry.k8s.io/pause:3.10"}, Size: 1 << 20},
		{ID: "sha256:b", Tags: []string{"docker.io/library/nginx:1"}, Size: 3 << 20},
	}}
}

// TestImagesMerge: what pods name in short, or by digest, is found; what is missing is listed.
func TestImagesMerge(t *testing.T) {
	digest := "docker.io/library/web@sha256:" + strings.Repeat("a", 64)
	have := append(twoImages().images, runtime.Image{ID: "sha256:c", Tags: []string{"docker.io/library/web:2"}, Digests: []string{digest}, Size: 1})
	used := map[string][]string{
		familiar("registry.k8s.io/pause:3.10"): {"sandboxes"}, familiar("nginx:1"): {"pod default/a"}, familiar(digest): {"pod default/b"}, familiar("redis"): {"pod default/c"},
	}
	var names []string
	for _, u := range mergeImages(have, used, true) {
		names = append(names, u.Name+" "+strings.Join(u.UsedBy, ",")+map[bool]string{true: "", false: " missing"}[u.Have])
	}
	want := []string{"docker.io/library/nginx:1 pod default/a", "docker.io/library/redis:latest pod default/c missing", digest + " pod default/b", "registry.k8s.io/pause:3.10 sandboxes"}
	if !slices.Equal(names, want) {
		t.Errorf("have %q\nwant %q", names, want)
	}
	if all := mergeImages(have, used, false); len(all) != 5 {
		t.Errorf("%d images: %+v", len(all), all)
	}
}

func TestImagesList(t *testing.T) {
	var replaced []string
	var out bytes.Buffer
	c := imagesListCmd{imageFlags: twoImages().flags(t, &replaced)}
	c.Output = "json"
	if err := c.Run(t.Context(), program.Output{Writer: &out}); err != nil {
		t.Fatal(err)
	}
	var list struct{ Items []imageUse }
	if err := json.Unmarshal(out.Bytes(), &list); err != nil || len(list.Items) != 2 || list.Items[1].UsedBy[0] != "sandboxes" {
		t.Errorf("%s %v", out.String(), err)
	}
	out.Reset()
	c.Cloud, c.Output = true, "name"
	if err := c.Run(t.Context(), program.Output{Writer: &out}); err != nil || out.String() != "edgekit/cloudcore:"+program.Version()+"\n" {
		t.Errorf("%q %v", out.String(), err)
	}
}

// TestImagesDataDir: the pods are those of the data folder that edgecore.yaml names.
func TestImagesDataDir(t *testing.T) {
	serveAPI(t, func(w http.ResponseWriter, _ *http.Request) {
		pod := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Image: "nginx:1"}}}}
		_ = json.NewEncoder(w).Encode(corev1.PodList{Items: []corev1.Pod{pod}})
	})
	var replaced []string
	c := imagesListCmd{imageFlags: twoImages().flags(t, &replaced), Needed: true}
	c.Output, c.DataDir, c.ConfigFile = "json", defaultDataDir, "edgecore.yaml"
	for _, endpoint := range []string{"", "unix:///run/other.sock"} {
		c.RuntimeEndpoint, c.DataDir = endpoint, defaultDataDir
		if err := os.WriteFile(c.ConfigFile, []byte("data-dir: .\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if err := c.Run(t.Context(), program.Output{Writer: &out}); err != nil || !strings.Contains(out.String(), "pod shop/web") {
			t.Errorf("endpoint %q: %v: %s", endpoint, err, &out)
		}
	}
}

// TestImagesSaveAndLoad: containerd's program gets full names and absolute paths; images that are
// missing are pulled before.
func TestImagesSaveAndLoad(t *testing.T) {
	var replaced []string
	var out bytes.Buffer
	rt := twoImages()
	file := filepath.Join(t.TempDir(), "out.tar")
	save := imagesSaveCmd{imageFlags: rt.flags(t, &replaced), File: file, Images: []string{"nginx:1", "redis:8"}}
	save.RuntimeEndpoint = "unix:///run/x.sock"
	if err := save.Run(t.Context(), program.Output{Writer: &out}); err != nil {
		t.Fatal(err)
	}
	want := []string{"ctr", "--address", "/run/x.sock", "--namespace", "k8s.io", "images", "export", file, "docker.io/library/nginx:1", "docker.io/library/redis:8"}
	if !slices.Equal(replaced, want) || !slices.Equal(rt.pulled, []string{"docker.io/library/redis:8"}) {
		t.Errorf("have %q, pulled %q", replaced, rt.pulled)
	}
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var usage *program.UsageError
	if err := save.Run(t.Context(), program.Output{Writer: &out}); !errors.As(err, &usage) || usage.Setting != "output" {
		t.Errorf("an archive is overwritten: %v", err)
	}
	load := imagesLoadCmd{imageFlags: rt.flags(t, &replaced), File: file}
	if err := load.Run(t.Context(), program.Output{Writer: &out}); err != nil || !slices.Equal(replaced[5:], []string{"images", "import", file}) {
		t.Errorf("%q %v", replaced, err)
	}
}

// TestImagesBadInput: names that are none, images that nobody has, other runtimes, no ctr.
func TestImagesBadInput(t *testing.T) {
	var replaced []string
	var out bytes.Buffer
	rt := twoImages()
	rt.fail = "docker.io/library/absent:latest"
	pull := imagesPullCmd{imageFlags: rt.flags(t, &replaced), Images: []string{"--help", "absent", "nginx:1"}}
	err := pull.Run(t.Context(), program.Output{Writer: &out})
	if err == nil || !strings.Contains(err.Error(), `"--help" is no name of an image`) || !strings.Contains(err.Error(), "absent:latest: no such image") || out.String() != "docker.io/library/nginx:1 pulled\n" {
		t.Errorf("%v %q", err, out.String())
	}
	crio := &fakeImages{name: "cri-o"}
	load := imagesLoadCmd{imageFlags: crio.flags(t, &replaced), File: "/x"}
	if err := load.Run(t.Context(), program.Output{Writer: &out}); err == nil || !strings.Contains(err.Error(), "skopeo copy") {
		t.Error(err)
	}
	load = imagesLoadCmd{imageFlags: rt.flags(t, &replaced), File: "/x"}
	t.Setenv("PATH", t.TempDir())
	if err := load.Run(t.Context(), program.Output{Writer: &out}); err == nil || !strings.Contains(err.Error(), "ctr is not in PATH") {
		t.Error(err)
	}
}
