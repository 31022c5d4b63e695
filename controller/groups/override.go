package groups

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	yamlv3 "go.yaml.in/yaml/v3"
	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"sigs.k8s.io/yaml"

	"github.com/edgekit/edgekit/controller/groups/v1alpha1"
)

// Bounds of one JSON patch.
const (
	maxOperations = 256
	maxCopies     = 4
)

// override applies the overriders but for the patches.
func override(u *unstructured.Unstructured, k *kind, o *v1alpha1.Overriders) error {
	if o.Replicas != nil && (k.Kind == "Deployment" || k.Kind == "StatefulSet") {
		spec, err := child(u.Object, "spec")
		if err != nil {
			return err
		}
		spec["replicas"] = int64(*o.Replicas)
	}
	for i := range o.ImageOverriders {
		if err := overrideImages(u, k, &o.ImageOverriders[i]); err != nil {
			return fmt.Errorf("imageOverriders[%d]: %w", i, err)
		}
	}
	all, err := containers(u, k, "containers", "initContainers")
	if err != nil {
		return err
	}
	for i := range o.CommandOverriders {
		if err := overrideWords(all, "command", &o.CommandOverriders[i]); err != nil {
			return fmt.Errorf("commandOverriders[%d]: %w", i, err)
		}
	}
	for i := range o.ArgsOverriders {
		if err := overrideWords(all, "args", &o.ArgsOverriders[i]); err != nil {
			return fmt.Errorf("argsOverriders[%d]: %w", i, err)
		}
	}
	for i := range o.EnvOverriders {
		if err := overrideEnv(all, &o.EnvOverriders[i]); err != nil {
			return fmt.Errorf("envOverriders[%d]: %w", i, err)
		}
	}
	for i := range o.ResourcesOverriders {
		r := &o.ResourcesOverriders[i]
		for _, c := range named(all, r.ContainerName) {
			if c["resources"], err = plain(r.Value); err != nil {
				return fmt.Errorf("resourcesOverriders[%d]: %w", i, err)
			}
		}
	}
	return nil
}

// containers returns the containers of a workload, which is changed through them.
func containers(u *unstructured.Unstructured, k *kind, fields ...string) ([]map[string]any, error) {
	tpl, err := template(u, k)
	if err != nil {
		return nil, err
	}
	spec, err := child(tpl, "spec")
	if err != nil {
		return nil, err
	}
	var out []map[string]any
	for _, field := range fields {
		list, ok := spec[field].([]any)
		if !ok && spec[field] != nil {
			return nil, fmt.Errorf("%s is not a list", field)
		}
		for i := range list {
			c, ok := list[i].(map[string]any)
			if !ok {
				return nil, fmt.Errorf("%s[%d] is not an object", field, i)
			}
			out = append(out, c)
		}
	}
	return out, nil
}

// named returns the containers of a name.
func named(all []map[string]any, name string) []map[string]any {
	return slices.DeleteFunc(slices.Clone(all), func(c map[string]any) bool { return c["name"] != name })
}

// overrideWords changes the command or the args of a container.
func overrideWords(all []map[string]any, field string, o *v1alpha1.CommandArgsOverrider) error {
	for _, c := range named(all, o.ContainerName) {
		words, ok := c[field].([]any)
		if !ok && c[field] != nil {
			return fmt.Errorf("%s of container %s is not a list", field, o.ContainerName)
		}
		words = slices.Clone(words)
		switch o.Operator {
		case v1alpha1.OverriderAdd:
			for _, word := range o.Value {
				words = append(words, word)
			}
		case v1alpha1.OverriderRemove:
			words = slices.DeleteFunc(words, func(w any) bool {
				s, ok := w.(string)
				return ok && slices.Contains(o.Value, s)
			})
		default:
			return fmt.Errorf("operator %q: want add or remove", o.Operator)
		}
		if c[field] = words; len(words) == 0 {
			delete(c, field)
		}
	}
	return nil
}

// overrideEnv changes the environment of a container. The order of variables matters, since one
// may refer to those before it: what is replaced stays where it is.
func overrideEnv(all []map[string]any, o *v1alpha1.EnvOverrider) error {
	for _, c := range named(all, o.ContainerName) {
		env, ok := c["env"].([]any)
		if !ok && c["env"] != nil {
			return fmt.Errorf("env of container %s is not a list", o.ContainerName)
		}
		env = slices.Clone(env)
		for _, v := range o.Value {
			at := slices.IndexFunc(env, func(have any) bool {
				m, ok := have.(map[string]any)
				return ok && m["name"] == v.Name
			})
			if o.Operator == v1alpha1.OverriderRemove {
				if at >= 0 {
					env = slices.Delete(env, at, at+1)
				}
				continue
			}
			value, err := envVar(v)
			if err != nil {
				return err
			}
			if at >= 0 {
				env[at] = value
			} else {
				env = append(env, value)
			}
		}
		if c["env"] = env; len(env) == 0 {
			delete(c, "env")
		}
	}
	return nil
}

func envVar(v corev1.EnvVar) (any, error) {
	if v.Name == "" {
		return nil, fmt.Errorf("a variable has no name")
	}
	return plain(v)
}

// overrideImages changes the images of all containers, or the one that a predicate names.
func overrideImages(u *unstructured.Unstructured, k *kind, o *v1alpha1.ImageOverrider) error {
	all, err := containers(u, k, "initContainers", "containers")
	if err != nil {
		return err
	}
	if o.Predicate != nil && o.Predicate.Path != "" {
		c, err := containerAt(u, o.Predicate.Path)
		if err != nil {
			return err
		}
		all = []map[string]any{c}
	}
	for _, c := range all {
		name, ok := c["image"].(string)
		if !ok {
			return fmt.Errorf("container %v has no image", c["name"])
		}
		changed, err := overrideImage(name, o)
		if err != nil {
			return err
		}
		c["image"] = changed
	}
	return nil
}

// containerAt returns the container whose image a JSON pointer names.
func containerAt(u *unstructured.Unstructured, pointer string) (map[string]any, error) {
	parts := strings.Split(strings.TrimPrefix(pointer, "/"), "/")
	if !strings.HasPrefix(pointer, "/") || parts[len(parts)-1] != "image" {
		return nil, fmt.Errorf("predicate.path %.200q: want the path of an image, such as /spec/template/spec/containers/0/image", pointer)
	}
	var at any = u.Object
	for _, part := range parts[:len(parts)-1] {
		part = strings.ReplaceAll(strings.ReplaceAll(part, "~1", "/"), "~0", "~")
		switch v := at.(type) {
		case map[string]any:
			at = v[part]
		case []any:
			i, err := strconv.Atoi(part)
			if err != nil || i < 0 || i >= len(v) {
				return nil, fmt.Errorf("predicate.path %.200q: there is no element %.20q", pointer, part)
			}
			at = v[i]
		default:
			at = nil
		}
	}
	c, ok := at.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("predicate.path %.200q: there is nothing", pointer)
	}
	return c, nil
}

// image is the name of an image in its parts.
type image struct{ registry, repository, tag string } // the tag has its : or @ before it

// parseImage splits an image's name. The first part is a registry if it has a dot or a port, or
// is localhost, as the container runtimes see it.
func parseImage(name string) image {
	var out image
	if first, rest, ok := strings.Cut(name, "/"); ok && (strings.ContainsAny(first, ".:") || first == "localhost") {
		out.registry, name = first, rest
	}
	out.repository = name
	if at := strings.IndexAny(name, ":@"); at >= 0 {
		out.repository, out.tag = name[:at], name[at:]
	}
	return out
}

func (i image) String() string {
	if i.registry == "" {
		return i.repository + i.tag
	}
	return i.registry + "/" + i.repository + i.tag
}

// overrideImage changes a part of an image's name.
func overrideImage(name string, o *v1alpha1.ImageOverrider) (string, error) {
	parts := parseImage(name)
	apply := func(have string) (string, error) {
		switch o.Operator {
		case v1alpha1.OverriderAdd:
			return have + o.Value, nil
		case v1alpha1.OverriderReplace:
			return o.Value, nil
		case v1alpha1.OverriderRemove:
			return "", nil
		}
		return "", fmt.Errorf("operator %q: want add, remove or replace", o.Operator)
	}
	var err error
	switch o.Component {
	case v1alpha1.Registry:
		parts.registry, err = apply(parts.registry)
	case v1alpha1.Repository:
		parts.repository, err = apply(parts.repository)
	case v1alpha1.Tag:
		mark := ":"
		if o.Operator == v1alpha1.OverriderReplace && strings.HasPrefix(o.Value, "sha256:") {
			mark = "@"
		} else if o.Operator == v1alpha1.OverriderAdd && parts.tag != "" {
			mark = parts.tag[:1]
		}
		var tag string
		if tag, err = apply(strings.TrimPrefix(parts.tag, mark)); tag != "" {
			tag = mark + tag
		}
		parts.tag = tag
	default:
		err = fmt.Errorf("component %q: want Registry, Repository or Tag", o.Component)
	}
	if err == nil && parts.repository == "" {
		err = fmt.Errorf("the image %s would have no name", name)
	}
	return parts.String(), err
}

// patchBodies are the patches of one application as JSON: each is read once for all of its copies.
type patchBodies map[*v1alpha1.Patch][]byte

// read returns a patch as JSON.
func (b patchBodies) read(p *v1alpha1.Patch) ([]byte, error) {
	if body, ok := b[p]; ok {
		return body, nil
	}
	var doc yamlv3.Node
	if err := yamlv3.Unmarshal([]byte(p.Patch), &doc); err != nil {
		return nil, fmt.Errorf("not YAML: %w", err)
	}
	if hasAlias(&doc) { // an alias may stand for many times its text
		return nil, errors.New("it has an alias (*name): write the value out")
	}
	body, err := yaml.YAMLToJSON([]byte(p.Patch))
	if err != nil {
		return nil, fmt.Errorf("not YAML: %w", err)
	}
	b[p] = body
	return body, nil
}

// hasAlias reports whether a YAML document uses an alias.
func hasAlias(n *yamlv3.Node) bool {
	return n.Kind == yamlv3.AliasNode || slices.ContainsFunc(n.Content, hasAlias)
}

// apply applies patches to a copy of the manifest name.
func (b patchBodies) apply(u *unstructured.Unstructured, k *kind, name string, all []v1alpha1.Patch) (*unstructured.Unstructured, error) {
	for i := range all {
		p := &all[i]
		if p.Target.Kind != "" && p.Target.Kind != k.Kind || p.Target.Name != "" && p.Target.Name != name {
			continue
		}
		before, err := json.Marshal(u.Object)
		if err != nil {
			return nil, fmt.Errorf("patches[%d]: %w", i, err)
		}
		body, err := b.read(p)
		if err != nil {
			return nil, fmt.Errorf("patches[%d]: %w", i, err)
		}
		var after []byte
		if p.Type == v1alpha1.JSON6902 {
			after, err = applyJSONPatch(before, body)
		} else {
			after, err = strategicpatch.StrategicMergePatch(before, body, schemaOf(k))
		}
		if err != nil {
			return nil, fmt.Errorf("patches[%d]: %w", i, err)
		}
		if len(after) > maxManifest {
			return nil, fmt.Errorf("patches[%d]: the object would have %d bytes: %d are the limit", i, len(after), maxManifest)
		}
		u = &unstructured.Unstructured{}
		if err := json.Unmarshal(after, &u.Object); err != nil {
			return nil, fmt.Errorf("patches[%d]: the result is not an object: %w", i, err)
		}
	}
	return u, nil
}

// applyJSONPatch applies a JSON patch. Each copy may double the object, so few are allowed.
func applyJSONPatch(doc, body []byte) ([]byte, error) {
	operations, err := jsonpatch.DecodePatch(body)
	if err != nil {
		return nil, fmt.Errorf("want a list of operations, RFC 6902: %w", err)
	}
	copies := 0
	for _, op := range operations {
		if op.Kind() == "copy" {
			copies++
		}
	}
	if len(operations) > maxOperations || copies > maxCopies {
		return nil, fmt.Errorf("it has %d operations and %d of them are copies: %d and %d are the limits", len(operations), copies, maxOperations, maxCopies)
	}
	return operations.Apply(doc)
}

// schemaOf returns the type whose tags say how lists are merged.
func schemaOf(k *kind) any {
	switch k.Kind {
	case "Deployment":
		return appsv1.Deployment{}
	case "StatefulSet":
		return appsv1.StatefulSet{}
	case "DaemonSet":
		return appsv1.DaemonSet{}
	case "Job":
		return batchv1.Job{}
	}
	return batchv1.CronJob{}
}
