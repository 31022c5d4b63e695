package static

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"
)

// Annotations of a static pod and of its mirror, as the kubelet writes them.
const (
	// SourceAnnotation says where a pod comes from: SourceFile or SourceURL.
	SourceAnnotation = "kubernetes.io/config.source"
	// HashAnnotation is the static pod's uid; on the mirror it is under
	// corev1.MirrorPodAnnotationKey too.
	HashAnnotation = "kubernetes.io/config.hash"
	// SourceFile is the value of SourceAnnotation on a static pod.
	SourceFile = "file"
	// SourceURL is its value on one whose manifest comes from a web server.
	SourceURL = "http"
)

// Decode makes a pod of a manifest, YAML or JSON, as it is to run on node. A pod
// that refers to a service account, a config map or a secret is refused: there is
// no API server to ask. Errors name the field.
func Decode(text []byte, node string) (*corev1.Pod, error) {
	if n := documents(text); n > 1 {
		return nil, fmt.Errorf("it holds %d documents: one pod in each file", n)
	}
	pod := new(corev1.Pod)
	if err := yaml.UnmarshalStrict(text, pod); err != nil {
		return nil, err
	}
	return complete(pod, node, SourceFile)
}

// complete checks a pod and fills in what the API server would.
func complete(pod *corev1.Pod, node, source string) (*corev1.Pod, error) {
	switch {
	case pod.APIVersion != "v1" || pod.Kind != "Pod":
		return nil, fmt.Errorf("it is a %q of %q: want kind Pod of apiVersion v1", pod.Kind, pod.APIVersion)
	case pod.Name == "":
		return nil, errors.New("metadata.name is empty")
	case pod.Spec.NodeName != "" && pod.Spec.NodeName != node:
		return nil, fmt.Errorf("spec.nodeName is %q, this node is %q: leave it out", pod.Spec.NodeName, node)
	}
	if pod.Namespace == "" {
		pod.Namespace = corev1.NamespaceDefault
	}
	pod.Name += "-" + strings.ToLower(node)
	if errs := validation.IsDNS1123Subdomain(pod.Name); len(errs) > 0 {
		return nil, fmt.Errorf("metadata.name: %s", errs[0])
	}
	if errs := validation.IsDNS1123Label(pod.Namespace); len(errs) > 0 {
		return nil, fmt.Errorf("metadata.namespace: %s", errs[0])
	}
	if err := check(&pod.Spec); err != nil {
		return nil, err
	}
	pod.Status = corev1.PodStatus{}
	pod.ResourceVersion, pod.OwnerReferences, pod.Finalizers, pod.DeletionTimestamp, pod.ManagedFields = "", nil, nil, nil, nil
	pod.UID, pod.Spec.NodeName, pod.Generation = "", node, 1
	setDefaults(&pod.Spec)
	// A static pod stays whatever is wrong with its node.
	pod.Spec.Tolerations = append(pod.Spec.Tolerations, corev1.Toleration{Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute})
	delete(pod.Annotations, corev1.MirrorPodAnnotationKey)
	uid, err := identify(pod)
	if err != nil {
		return nil, err
	}
	pod.UID = uid
	if pod.Annotations == nil {
		pod.Annotations = make(map[string]string)
	}
	pod.Annotations[SourceAnnotation], pod.Annotations[HashAnnotation] = source, string(uid)
	return pod, nil
}

// documents counts the YAML documents that hold anything.
func documents(text []byte) int {
	n := 0
	for _, part := range bytes.Split(append([]byte("\n"), text...), []byte("\n---")) {
		if len(bytes.TrimSpace(part)) > 0 {
			n++
		}
	}
	return n
}

// check refuses what would keep the pod from ever running.
func check(spec *corev1.PodSpec) error {
	if len(spec.Containers) == 0 {
		return errors.New("spec.containers is empty")
	}
	if spec.ServiceAccountName != "" {
		return errors.New("spec.serviceAccountName: a static pod has no service account")
	}
	names := make(map[string]bool)
	for _, list := range [][]corev1.Container{spec.InitContainers, spec.Containers} {
		for _, c := range list {
			switch {
			case len(validation.IsDNS1123Label(c.Name)) > 0:
				return fmt.Errorf("container name %q is not a lower-case DNS label", c.Name)
			case names[c.Name]:
				return fmt.Errorf("two containers are named %q", c.Name)
			case c.Image == "":
				return fmt.Errorf("container %q: image is empty", c.Name)
			}
			names[c.Name] = true
			for _, e := range c.Env {
				if from := e.ValueFrom; from != nil && (from.ConfigMapKeyRef != nil || from.SecretKeyRef != nil) {
					return fmt.Errorf("container %q: env %s: a static pod cannot refer to API objects", c.Name, e.Name)
				}
			}
			if len(c.EnvFrom) > 0 {
				return fmt.Errorf("container %q: envFrom: a static pod cannot refer to API objects", c.Name)
			}
		}
	}
	for _, v := range spec.Volumes {
		if v.ConfigMap != nil || v.Secret != nil || v.PersistentVolumeClaim != nil {
			return fmt.Errorf("volume %q: a static pod cannot refer to API objects", v.Name)
		}
	}
	return nil
}

// identify makes the uid of the pod: a hash of the manifest's content and nothing
// else, so that it is the same after a restart.
func identify(pod *corev1.Pod) (types.UID, error) {
	text, err := json.Marshal(pod)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(text)
	h := hex.EncodeToString(sum[:16])
	return types.UID(strings.Join([]string{h[:8], h[8:12], h[12:16], h[16:20], h[20:]}, "-")), nil
}

// Mirror is how the API server shows a static pod: the same pod, marked as a
// mirror, without rights. Its owner, the Node, is set where the Node is known.
func Mirror(pod *corev1.Pod) *corev1.Pod {
	m := pod.DeepCopy()
	m.UID, m.ResourceVersion, m.Status = "", "", corev1.PodStatus{}
	m.Annotations[corev1.MirrorPodAnnotationKey] = string(pod.UID)
	no := false
	m.Spec.AutomountServiceAccountToken = &no
	return m
}

// IsMirror reports whether a pod in the API server only shows a static pod.
func IsMirror(pod *corev1.Pod) bool {
	_, is := pod.Annotations[corev1.MirrorPodAnnotationKey]
	return is
}

// Is reports whether a pod comes from a file or a web server, and not from the API server.
func Is(pod *corev1.Pod) bool {
	source := pod.Annotations[SourceAnnotation]
	return (source == SourceFile || source == SourceURL) && !IsMirror(pod)
}
