package podspec

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/fieldref"
	"github.com/edgekit/edgekit/edged/internal/notfound"
	"github.com/edgekit/edgekit/edged/runtime"
)

// expand replaces $(NAME) by the value that lookup knows. A name that it does not
// know stays as it is, and $$ is a dollar sign that starts nothing:
// https://kubernetes.io/docs/tasks/inject-data-application/define-interdependent-environment-variables/
func expand(text string, lookup func(string) (string, bool)) string {
	if !strings.Contains(text, "$") {
		return text
	}
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] != '$' || i+1 == len(text) {
			b.WriteByte(text[i])
			continue
		}
		switch next := text[i+1]; next {
		case '$':
			b.WriteByte('$')
			i++
		case '(':
			end := strings.IndexByte(text[i+2:], ')')
			if end < 0 {
				b.WriteString("$(")
				i++
				continue
			}
			name := text[i+2 : i+2+end]
			if value, ok := lookup(name); ok {
				b.WriteString(value)
			} else {
				b.WriteString("$(" + name + ")")
			}
			i += 2 + end
		default:
			b.WriteByte('$')
		}
	}
	return b.String()
}

// environment is a container's variables in order. Of two with one name the later
// is in force, in the place of the first.
type environment struct {
	list  []runtime.EnvVar
	index map[string]int
}

func (e *environment) set(name, value string) {
	if i, ok := e.index[name]; ok {
		e.list[i].Value = value
		return
	}
	if e.index == nil {
		e.index = make(map[string]int)
	}
	e.index[name] = len(e.list)
	e.list = append(e.list, runtime.EnvVar{Name: name, Value: value})
}

func (e *environment) lookup(name string) (string, bool) {
	i, ok := e.index[name]
	if !ok {
		return "", false
	}
	return e.list[i].Value, true
}

// environmentOf gathers a container's variables: those given first, then envFrom,
// then env, each of which replaces what came before it. pod has the status that
// field references read.
func environmentOf(ctx context.Context, objects Objects, files fileReader, pod *corev1.Pod, c *corev1.Container, allocatable corev1.ResourceList, given ...runtime.EnvVar) (*environment, error) {
	env := &environment{}
	for _, v := range given {
		env.set(v.Name, v.Value)
	}
	refs := &references{objects: objects, files: files, namespace: pod.Namespace}
	for _, from := range c.EnvFrom {
		all, err := refs.all(ctx, from)
		if err != nil {
			return nil, err
		}
		keys := make([]string, 0, len(all))
		for k := range all {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		for _, k := range keys {
			// A key that is no name of a variable is left out, as the API says of envFrom.
			if name := from.Prefix + k; name != "" && !strings.ContainsAny(name, "=\x00") {
				env.set(name, all[k])
			}
		}
	}
	for _, v := range c.Env {
		// A value may refer to variables before it, and to those of Services.
		if v.ValueFrom == nil {
			env.set(v.Name, expand(v.Value, env.lookup))
			continue
		}
		value, ok, err := refs.one(ctx, pod, c, v.ValueFrom, allocatable)
		if err != nil {
			return nil, err
		}
		if ok {
			env.set(v.Name, value)
		}
	}
	return env, nil
}

// Objects reads what the variables of a container refer to; see edged.Objects.
type Objects interface {
	ConfigMap(ctx context.Context, namespace, name string) (*corev1.ConfigMap, error)
	Secret(ctx context.Context, namespace, name string) (*corev1.Secret, error)
	Services(ctx context.Context, namespace string) ([]*corev1.Service, error)
}

// references reads config maps, secrets and files for an environment.
type references struct {
	objects   Objects
	files     fileReader
	namespace string
}

func (r *references) configMap(ctx context.Context, name string, optional *bool) (*corev1.ConfigMap, error) {
	cm, err := r.objects.ConfigMap(ctx, r.namespace, name)
	if notfound.Is(err) {
		if optional != nil && *optional {
			return nil, nil
		}
		return nil, fmt.Errorf("configmap %q not found", name)
	}
	return cm, err
}

func (r *references) secret(ctx context.Context, name string, optional *bool) (*corev1.Secret, error) {
	s, err := r.objects.Secret(ctx, r.namespace, name)
	if notfound.Is(err) {
		if optional != nil && *optional {
			return nil, nil
		}
		return nil, fmt.Errorf("secret %q not found", name)
	}
	return s, err
}

// all reads all variables of an envFrom. What is optional and does not exist gives
// none.
func (r *references) all(ctx context.Context, from corev1.EnvFromSource) (map[string]string, error) {
	out := make(map[string]string)
	switch {
	case from.ConfigMapRef != nil:
		cm, err := r.configMap(ctx, from.ConfigMapRef.Name, from.ConfigMapRef.Optional)
		if err != nil || cm == nil {
			return nil, err
		}
		return cm.Data, nil
	case from.SecretRef != nil:
		s, err := r.secret(ctx, from.SecretRef.Name, from.SecretRef.Optional)
		if err != nil || s == nil {
			return nil, err
		}
		for k, v := range s.Data {
			out[k] = string(v)
		}
	}
	return out, nil
}

// one reads the value of one variable. It is false if the source is optional and
// does not exist.
func (r *references) one(ctx context.Context, pod *corev1.Pod, c *corev1.Container, from *corev1.EnvVarSource, allocatable corev1.ResourceList) (string, bool, error) {
	switch {
	case from.FieldRef != nil:
		v, err := fieldref.Field(pod, from.FieldRef.FieldPath)
		return v, err == nil, err
	case from.ResourceFieldRef != nil:
		target := c
		// A container may show the resources of another one of its pod.
		if name := from.ResourceFieldRef.ContainerName; name != "" {
			if target, _ = FindContainer(pod, name); target == nil {
				return "", false, fmt.Errorf("pod has no container %q", name)
			}
		}
		v, err := fieldref.Resource(target, from.ResourceFieldRef.Resource, from.ResourceFieldRef.Divisor, allocatable)
		return v, err == nil, err
	case from.ConfigMapKeyRef != nil:
		ref := from.ConfigMapKeyRef
		cm, err := r.configMap(ctx, ref.Name, ref.Optional)
		if err != nil || cm == nil {
			return "", false, err
		}
		v, ok := cm.Data[ref.Key]
		if !ok && (ref.Optional == nil || !*ref.Optional) {
			return "", false, fmt.Errorf("couldn't find key %v in ConfigMap %v/%v", ref.Key, pod.Namespace, ref.Name)
		}
		return v, ok, nil
	case from.SecretKeyRef != nil:
		ref := from.SecretKeyRef
		s, err := r.secret(ctx, ref.Name, ref.Optional)
		if err != nil || s == nil {
			return "", false, err
		}
		v, ok := s.Data[ref.Key]
		if !ok && (ref.Optional == nil || !*ref.Optional) {
			return "", false, fmt.Errorf("couldn't find key %v in Secret %v/%v", ref.Key, pod.Namespace, ref.Name)
		}
		return string(v), ok, nil
	case from.FileKeyRef != nil:
		return r.fileKey(pod, from.FileKeyRef)
	}
	return "", false, errors.New("this source of an environment variable is not supported on an edge node; use fieldRef, resourceFieldRef, configMapKeyRef, secretKeyRef or fileKeyRef")
}
