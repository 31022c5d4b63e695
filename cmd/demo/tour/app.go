package tour

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/edgekit/edgekit/cmd/demo/site"
)

//go:embed app.yaml
var appYAML string

// app deploys a web server that reads a config map, a secret and its service
// account's token.
func (t *Tour) app(ctx context.Context) (string, error) {
	if err := t.site.Kube().Apply(ctx, appYAML); err != nil {
		return "", err
	}
	pod, err := t.site.WaitPod(ctx, Namespace, App, time.Minute)
	if err != nil {
		return "", err
	}
	t.pod = pod
	page, err := t.fetch(ctx, site.FromHost, "/")
	if err != nil {
		return "", err
	}
	if !strings.Contains(page, "hello from a config map") {
		return "", fmt.Errorf("the page does not show the config map: %q", page)
	}
	secret, err := t.fetch(ctx, site.FromHost, "/file?p=/secret/password")
	if err != nil {
		return "", err
	}
	if secret != "swordfish" {
		return "", fmt.Errorf("the mounted secret is %q", secret)
	}
	token, err := t.fetch(ctx, site.FromHost, "/file?p=/var/run/secrets/kubernetes.io/serviceaccount/token")
	if err != nil {
		return "", err
	}
	if strings.Count(token, ".") != 2 {
		return "", errors.New("what is mounted as service account token is no JWT")
	}
	return fmt.Sprintf("http://%s:8080 answers: %s\n      its config map, secret and service account token are mounted", pod.Status.PodIP, firstLine(page)), nil
}

// fetch gets a page from the app's pod, within a few tries: a pod may be Ready
// before its program listens.
func (t *Tour) fetch(ctx context.Context, from site.From, path string) (page string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	err = eventually(ctx, func(ctx context.Context) error {
		page, err = t.site.Fetch(ctx, from, t.pod.Status.PodIP, path)
		return err
	})
	return page, err
}

// containerID is the id of the pod's container as the runtime knows it.
func (t *Tour) containerID() string {
	if len(t.pod.Status.ContainerStatuses) == 0 {
		return ""
	}
	_, id, _ := strings.Cut(t.pod.Status.ContainerStatuses[0].ContainerID, "://")
	return id
}

// restarts is how often the pod's container was restarted.
func (t *Tour) restarts() int32 {
	if len(t.pod.Status.ContainerStatuses) == 0 {
		return 0
	}
	return t.pod.Status.ContainerStatuses[0].RestartCount
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}
