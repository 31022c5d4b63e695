package install

import (
	"cmp"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"
)

// Name is that of cloudcore's Deployment, Service, ConfigMap, PodDisruptionBudget and
// NetworkPolicy.
const Name = "cloudcore"

// DefaultRepository is that of cloudcore's image without its tag.
const DefaultRepository = "edgekit/cloudcore"

// gracePeriod is the pod's least terminationGracePeriodSeconds, and graceOver what it has over
// the setting drain.
const (
	gracePeriod = 45
	graceOver   = 35
)

// configDigest is the annotation of a pod that changes with the settings.
const configDigest = "edgekit.io/config-sha256"

//go:embed kustomize/cloudcore.yaml
var workload []byte

//go:embed kustomize/config.yaml
var baseConfig []byte

// Cloudcore says how cloudcore runs in the cluster. Advertise should be set.
type Cloudcore struct {
	Image    string // with its tag; empty means DefaultRepository:latest
	Replicas int32  // 0 means 2
	// Service is the type of the Service by which nodes reach cloudcore; empty means
	// LoadBalancer.
	Service corev1.ServiceType
	// NodePort is the port of the machines' own addresses, TCP and UDP; for the type NodePort
	// only. 0 lets the API server choose.
	NodePort int32
	// Advertise are the addresses by which nodes reach the Service, host:port. cloudcore's
	// certificate names the hosts.
	Advertise []string
	// Settings are further settings of cloudcore by the names of its flags. Those that the
	// manifest decides itself are refused.
	Settings map[string]string
	// PullSecret names the Secret of the image's registry; empty means none.
	PullSecret string
}

// decided are settings of cloudcore that the manifest decides.
func decided() []string {
	return []string{"config", "install", "kubeconfig", "listen", "metrics-listen", "metrics-open", "namespace"}
}

var settingName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,62}$`)

// check returns an error that names the field and the remedy.
func (c *Cloudcore) check() error {
	switch c.Service {
	case "", corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeNodePort, corev1.ServiceTypeClusterIP:
	default:
		return fmt.Errorf("install: Cloudcore.Service %q: want LoadBalancer, NodePort or ClusterIP", c.Service)
	}
	switch {
	case c.Replicas < 0 || c.Replicas > 100:
		return fmt.Errorf("install: Cloudcore.Replicas %d: want 1 to 100, or 0 for 2", c.Replicas)
	case c.NodePort != 0 && c.Service != corev1.ServiceTypeNodePort:
		return errors.New("install: Cloudcore.NodePort is for the Service type NodePort: leave it out, or choose that type")
	case c.NodePort < 0 || c.NodePort > 65535:
		return fmt.Errorf("install: Cloudcore.NodePort %d: want 1 to 65535", c.NodePort)
	case strings.ContainsAny(c.Image, " \t\n\"'") || strings.HasSuffix(c.Image, ":"):
		return fmt.Errorf("install: Cloudcore.Image %q: want REPOSITORY:TAG", c.Image)
	}
	for _, a := range c.Advertise {
		host, _, err := net.SplitHostPort(a)
		if err != nil {
			host = a
		}
		if net.ParseIP(host) == nil && len(validation.IsDNS1123Subdomain(strings.ToLower(host))) > 0 {
			return fmt.Errorf("install: Cloudcore.Advertise %q: want HOST:PORT", a)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Settings)) {
		if !settingName.MatchString(name) {
			return fmt.Errorf("install: Cloudcore.Settings: %q is not the name of a setting: 'cloudcore config print' lists them", name)
		}
		if slices.Contains(decided(), name) {
			return fmt.Errorf("install: Cloudcore.Settings: %s is decided by the manifest: leave it out", name)
		}
	}
	return nil
}

// config returns cloudcore's configuration file.
func (c *Cloudcore) config(namespace string) (string, error) {
	values := make(map[string]any)
	if err := yaml.Unmarshal(baseConfig, &values); err != nil {
		return "", fmt.Errorf("install: %w", err)
	}
	values["namespace"] = namespace
	if len(c.Advertise) > 0 {
		values["advertise"] = c.Advertise
	}
	for name, value := range c.Settings {
		values[name] = value
	}
	text, err := yaml.Marshal(values)
	return string(text), err
}

// documents yields the YAML of cloudcore's objects.
func (c *Cloudcore) documents(namespace string) ([][]byte, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	config, err := c.config(namespace)
	if err != nil {
		return nil, err
	}
	labels := map[string]string{"app.kubernetes.io/name": Name, "app.kubernetes.io/part-of": "edgekit"}
	configMap := &corev1.ConfigMap{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
		ObjectMeta: metav1.ObjectMeta{Name: Name, Namespace: namespace, Labels: labels},
		Data:       map[string]string{"cloudcore.yaml": config},
	}
	doc, err := marshal(configMap)
	if err != nil {
		return nil, err
	}
	docs := [][]byte{doc}
	for _, doc := range split(workload, namespace) {
		if doc, err = c.amend(doc, config); err != nil {
			return nil, err
		}
		docs = append(docs, doc)
	}
	return docs, nil
}

// amend puts the choices into an object of the file cloudcore.yaml.
func (c *Cloudcore) amend(doc []byte, config string) ([]byte, error) {
	var kind metav1.TypeMeta
	if err := yaml.Unmarshal(doc, &kind); err != nil {
		return nil, fmt.Errorf("install: %w", err)
	}
	switch kind.Kind {
	case "Service":
		service := &corev1.Service{}
		if err := yaml.UnmarshalStrict(doc, service); err != nil {
			return nil, fmt.Errorf("install: %w", err)
		}
		if service.Name == Name { // the other is the console's
			c.service(service)
		}
		return marshal(service)
	case "Deployment":
		deployment := &appsv1.Deployment{}
		if err := yaml.UnmarshalStrict(doc, deployment); err != nil {
			return nil, fmt.Errorf("install: %w", err)
		}
		if err := c.deployment(deployment, config); err != nil {
			return nil, err
		}
		return marshal(deployment)
	}
	return doc, nil
}

func (c *Cloudcore) service(s *corev1.Service) {
	s.Spec.Type = cmp.Or(c.Service, corev1.ServiceTypeLoadBalancer)
	if s.Spec.Type != corev1.ServiceTypeLoadBalancer {
		// A machine without a cloudcore would not answer.
		s.Spec.ExternalTrafficPolicy = ""
	}
	for i := range s.Spec.Ports {
		s.Spec.Ports[i].NodePort = c.NodePort
	}
}

func (c *Cloudcore) deployment(d *appsv1.Deployment, config string) error {
	d.Spec.Replicas = new(cmp.Or(c.Replicas, 2))
	pod := &d.Spec.Template
	sum := sha256.Sum256([]byte(strings.TrimSuffix(config, "\n")))
	pod.Annotations[configDigest] = hex.EncodeToString(sum[:])
	pod.Spec.Containers[0].Image = cmp.Or(c.Image, DefaultRepository+":latest")
	if c.PullSecret != "" {
		pod.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: c.PullSecret}}
	}
	if text, ok := c.Settings["drain"]; ok {
		drain, err := time.ParseDuration(text)
		if err != nil || drain < 0 {
			return fmt.Errorf("install: Cloudcore.Settings: drain %q: want a time such as 10s", text)
		}
		pod.Spec.TerminationGracePeriodSeconds = new(max(gracePeriod, int64(drain.Seconds())+graceOver))
	}
	return nil
}

// marshal writes a typed object without its empty fields.
func marshal(obj any) ([]byte, error) {
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(obj)
	if err != nil {
		return nil, fmt.Errorf("install: %w", err)
	}
	delete(fields, "status")
	for _, path := range [][]string{{"metadata"}, {"spec", "template", "metadata"}} {
		unstructured.RemoveNestedField(fields, append(path, "creationTimestamp")...)
	}
	text, err := json.Marshal(fields)
	if err != nil {
		return nil, fmt.Errorf("install: %w", err)
	}
	return yaml.JSONToYAML(text)
}

// Image returns the image of cloudcore's Deployment and, of that, the tag; "" where there is
// none.
func Image(deployment *appsv1.Deployment) (image, tag string) {
	for _, c := range deployment.Spec.Template.Spec.Containers {
		if c.Name != Name {
			continue
		}
		image, _, _ = strings.Cut(c.Image, "@")
		if i := strings.LastIndex(image, ":"); i > strings.LastIndex(image, "/") {
			return c.Image, image[i+1:]
		}
		return c.Image, ""
	}
	return "", ""
}

// Installed reads the choices of a cloudcore that runs in a cluster from its Deployment, Service
// and ConfigMap, so that another version can be applied with the same ones.
func Installed(d *appsv1.Deployment, s *corev1.Service, config *corev1.ConfigMap) (Cloudcore, error) {
	c := Cloudcore{Service: s.Spec.Type}
	c.Image, _ = Image(d)
	if d.Spec.Replicas != nil {
		c.Replicas = *d.Spec.Replicas
	}
	if len(d.Spec.Template.Spec.ImagePullSecrets) > 0 {
		c.PullSecret = d.Spec.Template.Spec.ImagePullSecrets[0].Name
	}
	if s.Spec.Type == corev1.ServiceTypeNodePort && len(s.Spec.Ports) > 0 {
		c.NodePort = s.Spec.Ports[0].NodePort
	}
	values := make(map[string]any)
	if err := yaml.Unmarshal([]byte(config.Data["cloudcore.yaml"]), &values); err != nil {
		return c, fmt.Errorf("install: ConfigMap %s: %w", config.Name, err)
	}
	for name, value := range values {
		switch v := value.(type) {
		case []any:
			list := make([]string, 0, len(v))
			for _, item := range v {
				list = append(list, fmt.Sprint(item))
			}
			if name == "advertise" {
				c.Advertise = list
				continue
			}
			value = strings.Join(list, ",")
		case map[string]any:
			return c, fmt.Errorf("install: ConfigMap %s: %s: want a plain value or a list", config.Name, name)
		}
		if slices.Contains(decided(), name) {
			continue
		}
		if c.Settings == nil {
			c.Settings = make(map[string]string)
		}
		if number, ok := value.(float64); ok {
			value = strconv.FormatFloat(number, 'f', -1, 64)
		}
		c.Settings[name] = fmt.Sprint(value)
	}
	return c, nil
}
