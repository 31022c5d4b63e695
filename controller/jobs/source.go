package jobs

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/controller/internal/cache"
	nodesync "github.com/edgekit/edgekit/controller/internal/sync"
	nodejobs "github.com/edgekit/edgekit/edged/jobs"
	"github.com/edgekit/edgekit/edged/jobs/v1alpha2"
	"github.com/edgekit/edgekit/hub"
)

const resource = nodejobs.Resource

// Resources returns the resources for which Source answers.
func Resources() []string { return []string{resource} }

// Source returns the jobs of a node: those that it may work for.
func (c *Controller) Source(node string) hub.Source { return &source{c: c, node: node} }

type source struct {
	c    *Controller
	node string
}

func keyOf(res *v1alpha2.NodeJobResult) hub.Key {
	return hub.Key{Resource: resource, Name: nodejobs.Key(res.Spec.Kind, res.Spec.Job)}
}

// visible reports whether a node must have its job: it has a permission and has not ended, or
// needs the job after its end.
func visible(j *job, i *item) bool {
	return j != nil && i != nil && string(j.meta.UID) == i.res.Spec.JobUID && i.res.Spec.Phase != "" && (j.keeps || !i.final())
}

func (s *source) Compare(a, b string) int { return cache.Compare(a, b) }

func (s *source) Subscribe(changed func(hub.Key)) (stop func()) {
	_, unsubscribe := s.c.notifier.Subscribe(s.node, changed)
	return func() { unsubscribe() }
}

func (s *source) Versions(context.Context) (iter.Seq2[hub.Key, string], error) {
	list := make(map[hub.Key]string)
	for _, i := range s.c.results.node(s.node) {
		if key := keyOf(i.res); visible(s.c.job(key.Name), i) {
			list[key] = i.version
		}
	}
	return maps.All(list), nil
}

// Load returns a job of the node. One that is not known here, or that the node no longer
// needs, is gone only if the API server says the same.
func (s *source) Load(ctx context.Context, key hub.Key, held string) (hub.Object, error) {
	j := s.c.job(key.Name)
	var i *item
	if j != nil {
		i = s.c.results.get(string(j.meta.UID), s.node)
	}
	if visible(j, i) {
		version := i.version
		if cache.Compare(held, version) > 0 { // a change of status alone has newer versions
			version = i.res.ResourceVersion
		}
		if cache.Compare(held, version) > 0 {
			return hub.Object{}, fmt.Errorf("controller/jobs: load %s: %w", key, hub.ErrLagging)
		}
		n := j.forNode(&i.res.Spec)
		if !i.final() { // after its end the node pulls no more
			n = s.c.withSecret(ctx, n)
		}
		body, err := json.Marshal(n)
		if err != nil {
			return hub.Object{}, fmt.Errorf("controller/jobs: load %s: %w", key, err)
		}
		return hub.Object{Key: key, Version: version, Body: body}, nil
	}
	gone, err := s.gone(ctx, key.Name)
	if err != nil {
		return hub.Object{}, fmt.Errorf("controller/jobs: load %s: %w", key, nodesync.FromAPI(err))
	}
	if !gone {
		return hub.Object{}, fmt.Errorf("controller/jobs: load %s: %w", key, hub.ErrLagging)
	}
	return hub.Object{Key: key, Deleted: true}, nil
}

// gone asks the API server whether the node needs no such job.
func (s *source) gone(ctx context.Context, key string) (bool, error) {
	kind, name, ok := nodejobs.ParseKey(key)
	if !ok {
		return true, nil
	}
	u, err := s.c.jobClient(kind).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	j, err := parseJob(kind, u)
	if err != nil {
		return false, err
	}
	u, err = s.c.resultClient().Get(ctx, resultName(kind, name, string(j.meta.UID), s.node), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	res, err := cache.Decode[v1alpha2.NodeJobResult](u)
	if err != nil {
		return false, err
	}
	return !visible(j, &item{res: res}), nil
}

// withSecret adds the pull secret to a job that has one. Without the secret, or the right to
// read it, the node says that it may not pull.
func (c *Controller) withSecret(ctx context.Context, n *nodejobs.NodeJob) *nodejobs.NodeJob {
	if n.ImagePrePull == nil || n.ImagePrePull.ImageSecrets == "" {
		return n
	}
	namespace, name, _ := strings.Cut(n.ImagePrePull.ImageSecrets, "/")
	secret, err := c.cfg.Cloud.CoreV1().Secrets(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		if ctx.Err() == nil {
			c.log.Warn("the pull secret of an ImagePrePullJob cannot be read: give cloudcore's ServiceAccount the right to get it, by a Role in its namespace",
				"job", n.Name, "secret", n.ImagePrePull.ImageSecrets, "err", err)
		}
		return n
	}
	own := *n.ImagePrePull
	own.DockerConfigJSON = secret.Data[corev1.DockerConfigJsonKey]
	if old := secret.Data[corev1.DockerConfigKey]; len(own.DockerConfigJSON) == 0 && len(old) > 0 {
		own.DockerConfigJSON = []byte(`{"auths":` + string(old) + `}`)
	}
	n.ImagePrePull = &own
	return n
}
