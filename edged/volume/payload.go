package volume

import (
	"context"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/fieldref"
)

// defaultMode is the mode of files whose volume does not say.
const defaultMode = 0o644

// file is one file of a volume's content.
type file struct {
	data []byte
	mode int32
	user *int64 // owner; nil is root
}

// payload gathers the content of a volume, by path.
func (s *setup) payload(ctx context.Context, v *corev1.Volume) (map[string]file, error) {
	files := make(map[string]file)
	var err error
	switch {
	case v.ConfigMap != nil:
		err = s.configMap(ctx, files, v.ConfigMap.Name, v.ConfigMap.Items, v.ConfigMap.Optional, v.ConfigMap.DefaultMode)
	case v.Secret != nil:
		err = s.secret(ctx, files, v.Secret.SecretName, v.Secret.Items, v.Secret.Optional, v.Secret.DefaultMode)
	case v.DownwardAPI != nil:
		err = s.downward(files, v.DownwardAPI.Items, v.DownwardAPI.DefaultMode)
	case v.Projected != nil:
		err = s.projected(ctx, files, v.Name, v.Projected)
	default:
		return nil, errors.New("this kind of volume is not supported on an edge node; use emptyDir, hostPath, configMap, secret, downwardAPI, projected, nfs, persistentVolumeClaim or ephemeral")
	}
	if err != nil {
		return nil, err
	}
	for p := range files {
		if err := checkPath(p); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// checkPath keeps content inside its volume, away from the names that swaps use.
func checkPath(p string) error {
	if !filepath.IsLocal(p) || path.Clean(p) != p || p == "." || strings.HasPrefix(p, "..") {
		return fmt.Errorf("path %q does not stay inside the volume", p)
	}
	return nil
}

func (s *setup) configMap(ctx context.Context, files map[string]file, name string, items []corev1.KeyToPath, optional *bool, mode *int32) error {
	may := optional != nil && *optional
	cm, err := s.m.cfg.Source.ConfigMap(ctx, s.pod.Namespace, name)
	if missing(err) {
		if may {
			return nil
		}
		return fmt.Errorf("configmap %q not found", name)
	}
	if err != nil {
		return err
	}
	all := make(map[string][]byte, len(cm.Data)+len(cm.BinaryData))
	for k, v := range cm.Data {
		all[k] = []byte(v)
	}
	for k, v := range cm.BinaryData {
		all[k] = v
	}
	return pick(files, all, items, may, mode, "configmap")
}

func (s *setup) secret(ctx context.Context, files map[string]file, name string, items []corev1.KeyToPath, optional *bool, mode *int32) error {
	may := optional != nil && *optional
	secret, err := s.m.cfg.Source.Secret(ctx, s.pod.Namespace, name)
	if missing(err) {
		if may {
			return nil
		}
		return fmt.Errorf("secret %q not found", name)
	}
	if err != nil {
		return err
	}
	return pick(files, secret.Data, items, may, mode, "secret")
}

// missing reports whether err says that an object is not there.
func missing(err error) bool {
	var e interface{ NotFound() bool }
	return errors.As(err, &e) && e.NotFound()
}

// pick puts the items, or everything when there are none, into files.
func pick(files map[string]file, all map[string][]byte, items []corev1.KeyToPath, optional bool, mode *int32, what string) error {
	if len(items) == 0 {
		for k, data := range all {
			files[k] = file{data: data, mode: modeOr(nil, mode)}
		}
		return nil
	}
	for _, item := range items {
		data, ok := all[item.Key]
		if !ok {
			if optional {
				continue
			}
			return fmt.Errorf("%s references non-existent %s key: %s", what, map[string]string{"configmap": "config", "secret": "secret"}[what], item.Key)
		}
		files[item.Path] = file{data: data, mode: modeOr(item.Mode, mode)}
	}
	return nil
}

func modeOr(own, def *int32) int32 {
	switch {
	case own != nil:
		return *own
	case def != nil:
		return *def
	}
	return defaultMode
}

func (s *setup) downward(files map[string]file, items []corev1.DownwardAPIVolumeFile, mode *int32) error {
	for _, item := range items {
		var text string
		var err error
		switch {
		case item.FieldRef != nil:
			text, err = fieldref.Field(s.pod, item.FieldRef.FieldPath)
		case item.ResourceFieldRef != nil:
			c := container(s.pod, item.ResourceFieldRef.ContainerName)
			if c == nil {
				return fmt.Errorf("pod has no container %q", item.ResourceFieldRef.ContainerName)
			}
			text, err = fieldref.Resource(c, item.ResourceFieldRef.Resource, item.ResourceFieldRef.Divisor, s.allocatable)
		default:
			return fmt.Errorf("item %q has neither fieldRef nor resourceFieldRef", item.Path)
		}
		if err != nil {
			return err
		}
		files[item.Path] = file{data: []byte(text), mode: modeOr(item.Mode, mode)}
	}
	return nil
}

func container(pod *corev1.Pod, name string) *corev1.Container {
	for _, list := range [][]corev1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
		for i := range list {
			if list[i].Name == name {
				return &list[i]
			}
		}
	}
	return nil
}

func (s *setup) projected(ctx context.Context, files map[string]file, volume string, p *corev1.ProjectedVolumeSource) error {
	for i, src := range p.Sources {
		var err error
		switch {
		case src.ConfigMap != nil:
			err = s.configMap(ctx, files, src.ConfigMap.Name, src.ConfigMap.Items, src.ConfigMap.Optional, p.DefaultMode)
		case src.Secret != nil:
			err = s.secret(ctx, files, src.Secret.Name, src.Secret.Items, src.Secret.Optional, p.DefaultMode)
		case src.DownwardAPI != nil:
			err = s.downward(files, src.DownwardAPI.Items, p.DefaultMode)
		case src.ServiceAccountToken != nil:
			err = s.token(ctx, files, src.ServiceAccountToken, p.DefaultMode)
		case src.ClusterTrustBundle != nil:
			err = s.trustBundle(ctx, files, src.ClusterTrustBundle, p.DefaultMode)
		case src.PodCertificate != nil:
			err = s.podCertificate(ctx, files, volume, i, src.PodCertificate, p.DefaultMode)
		default:
			err = errors.New("this projected source is not supported on an edge node; use secret, configMap, downwardAPI, serviceAccountToken, clusterTrustBundle or podCertificate")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *setup) token(ctx context.Context, files map[string]file, p *corev1.ServiceAccountTokenProjection, mode *int32) error {
	req := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		ExpirationSeconds: p.ExpirationSeconds,
		BoundObjectRef:    &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: s.pod.Name, UID: s.pod.UID},
	}}
	if p.Audience != "" {
		req.Spec.Audiences = []string{p.Audience}
	}
	account := s.pod.Spec.ServiceAccountName
	if account == "" {
		account = "default"
	}
	tr, err := s.m.cfg.Source.Token(ctx, s.pod.Namespace, account, req)
	if err != nil {
		return fmt.Errorf("failed to fetch token: %w", err)
	}
	s.noteToken(tr, time.Now())
	files[p.Path] = s.owned(file{data: []byte(tr.Status.Token), mode: modeOr(nil, mode)})
	return nil
}

// defaultTokenLife is the life of a token whose request does not say.
const defaultTokenLife = time.Hour

// noteToken keeps account of a token in use. After four fifths of its life it is
// due, and no later than its life tells: the node's clock may be years off the
// cloud's. One that is past that came from a node without a link: ask again soon.
func (s *setup) noteToken(tr *authenticationv1.TokenRequest, now time.Time) {
	end, life := tr.Status.ExpirationTimestamp.Time, defaultTokenLife
	if seconds := tr.Spec.ExpirationSeconds; seconds != nil && *seconds > 0 {
		life = time.Duration(*seconds) * time.Second
	}
	left := min(end.Sub(now), life)
	s.refreshBy(now.Add(max(left/5*4, time.Minute)))
	if !end.IsZero() && !now.Before(end) {
		s.expiredAt(end)
	}
}

// soleUser is the user that all containers of the pod run as by its spec, nil
// if they differ or the spec leaves it open.
func soleUser(pod *corev1.Pod) *int64 {
	var user *int64
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			var u *int64
			if sc := pod.Spec.SecurityContext; sc != nil {
				u = sc.RunAsUser
			}
			if sc := list[i].SecurityContext; sc != nil && sc.RunAsUser != nil {
				u = sc.RunAsUser
			}
			if u == nil || user != nil && *user != *u {
				return nil
			}
			user = u
		}
	}
	return user
}
