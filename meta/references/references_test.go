package references_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/meta/references"
)

func TestOf(t *testing.T) {
	name := func(n string) corev1.LocalObjectReference { return corev1.LocalObjectReference{Name: n} }
	secret := name("s")
	env := func(config, secret string) ([]corev1.EnvVar, []corev1.EnvFromSource) {
		return []corev1.EnvVar{
				{Name: "plain", Value: "v"},
				{Name: "field", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.name"}}},
				{Name: "c", ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: name(config + "-key")}}},
				{Name: "s", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: name(secret + "-key")}}},
			}, []corev1.EnvFromSource{
				{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: name(config)}},
				{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: name(secret)}},
			}
	}
	volume := func(source corev1.VolumeSource) corev1.PodSpec {
		return corev1.PodSpec{Volumes: []corev1.Volume{{VolumeSource: source}}}
	}
	var init, main, debug corev1.PodSpec
	e, from := env("c", "s")
	init.InitContainers = []corev1.Container{{Env: e, EnvFrom: from}}
	main.Containers = init.InitContainers
	debug.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Env: e, EnvFrom: from}}}
	fromEnv := []string{"configmaps/a/c", "configmaps/a/c-key", "secrets/a/s", "secrets/a/s-key"}
	for title, tc := range map[string]struct {
		spec corev1.PodSpec
		want []string
	}{
		"nothing":              {corev1.PodSpec{Containers: []corev1.Container{{Name: "c"}}}, nil},
		"no name":              {corev1.PodSpec{ImagePullSecrets: []corev1.LocalObjectReference{{}}}, nil},
		"image pull secrets":   {corev1.PodSpec{ImagePullSecrets: []corev1.LocalObjectReference{secret, name("t")}}, []string{"secrets/a/s", "secrets/a/t"}},
		"init containers":      {init, fromEnv},
		"containers":           {main, fromEnv},
		"ephemeral containers": {debug, fromEnv},
		"config map volume":    {volume(corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: name("c")}}), []string{"configmaps/a/c"}},
		"secret volume":        {volume(corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "s"}}), []string{"secrets/a/s"}},
		"projected volume": {volume(corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
			{Secret: &corev1.SecretProjection{LocalObjectReference: secret}}, {ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: name("c")}},
			{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token"}},
		}}}), []string{"configmaps/a/c", "secrets/a/s"}},
		"runtime class":  {corev1.PodSpec{RuntimeClassName: new("kata")}, []string{"runtimeclasses//kata"}},
		"CSI volume":     {volume(corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{Driver: "d.example.com", NodePublishSecretRef: &secret}}), []string{"csidrivers//d.example.com", "secrets/a/s"}},
		"CSI, no secret": {volume(corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{}}), nil},
		"flex volume":    {volume(corev1.VolumeSource{FlexVolume: &corev1.FlexVolumeSource{SecretRef: &secret}}), []string{"secrets/a/s"}},
		"iSCSI volume":   {volume(corev1.VolumeSource{ISCSI: &corev1.ISCSIVolumeSource{SecretRef: &secret}}), []string{"secrets/a/s"}},
		"CephFS volume":  {volume(corev1.VolumeSource{CephFS: &corev1.CephFSVolumeSource{SecretRef: &secret}}), []string{"secrets/a/s"}},
		"RBD volume":     {volume(corev1.VolumeSource{RBD: &corev1.RBDVolumeSource{SecretRef: &secret}}), []string{"secrets/a/s"}},
		"claim":          {volume(corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"}}), []string{"persistentvolumeclaims/a/data"}},
		"ephemeral claim": {corev1.PodSpec{Volumes: []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{}}}}},
			[]string{"persistentvolumeclaims/a/web-v"}},
		"resource claims": {corev1.PodSpec{ResourceClaims: []corev1.PodResourceClaim{{Name: "x", ResourceClaimName: new("gpu")}, {Name: "y", ResourceClaimTemplateName: new("t")}, {Name: "z"}}},
			[]string{"resourceclaims/a/gpu"}},
		"host path volume": {volume(corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/"}}), nil},
	} {
		t.Run(title, func(t *testing.T) {
			var got []string
			for key := range references.Of(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "web"}, Spec: tc.spec}) {
				got = append(got, key.String())
			}
			slices.Sort(got)
			if !slices.Equal(got, tc.want) {
				t.Errorf("refers to %q, want %q", got, tc.want)
			}
		})
	}
}

func ExampleOf() {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"},
		Spec:       corev1.PodSpec{ImagePullSecrets: []corev1.LocalObjectReference{{Name: "registry"}}},
	}
	for key := range maps.Keys(references.Of(pod)) {
		fmt.Println(key)
	}
	// Output: secrets/shop/registry
}

// TestOfClaim follows a claim only where the cluster's controller bound it.
func TestOfClaim(t *testing.T) {
	for title, tc := range map[string]struct {
		volume string
		phase  corev1.PersistentVolumeClaimPhase
		want   bool
	}{
		"bound":             {"pv-1", corev1.ClaimBound, true},
		"names a volume":    {"pv-1", corev1.ClaimPending, false},
		"lost its volume":   {"pv-1", corev1.ClaimLost, false},
		"bound, to nothing": {"", corev1.ClaimBound, false},
		"no phase yet":      {"pv-1", "", false},
	} {
		claim := &corev1.PersistentVolumeClaim{Spec: corev1.PersistentVolumeClaimSpec{VolumeName: tc.volume}, Status: corev1.PersistentVolumeClaimStatus{Phase: tc.phase}}
		key, ok := references.OfClaim(claim)
		if ok != tc.want || ok && key.String() != "persistentvolumes//pv-1" {
			t.Errorf("%s: %s, %t", title, key, ok)
		}
	}
}

func TestOfVolume(t *testing.T) {
	pv := &corev1.PersistentVolume{}
	if got := references.OfVolume(pv); len(got) != 0 {
		t.Errorf("a volume without a driver refers to %v", got)
	}
	pv.Spec.CSI = &corev1.CSIPersistentVolumeSource{
		Driver:             "d.example.com",
		NodeStageSecretRef: &corev1.SecretReference{Namespace: "b", Name: "stage"}, NodePublishSecretRef: &corev1.SecretReference{Namespace: "b", Name: "publish"},
		NodeExpandSecretRef: &corev1.SecretReference{Namespace: "b", Name: "expand"}, ControllerPublishSecretRef: &corev1.SecretReference{Namespace: "b", Name: "cloud"},
	}
	var got []string
	for key := range references.OfVolume(pv) {
		got = append(got, key.String())
	}
	slices.Sort(got)
	if want := []string{"csidrivers//d.example.com", "secrets/b/expand", "secrets/b/publish", "secrets/b/stage"}; !slices.Equal(got, want) {
		t.Errorf("refers to %q, want %q: what the node needs, not what the cloud needs", got, want)
	}
}

// TestAttachmentOf gives the name that kube-controller-manager gives an attachment:
// printf vol-1d.example.comn | sha256sum
func TestAttachmentOf(t *testing.T) {
	pv := &corev1.PersistentVolume{}
	if key, ok := references.AttachmentOf(pv, "n"); ok {
		t.Errorf("a volume without a driver refers to %s", key)
	}
	pv.Spec.CSI = &corev1.CSIPersistentVolumeSource{Driver: "d.example.com", VolumeHandle: "vol-1"}
	if key, ok := references.AttachmentOf(pv, "n"); !ok || key.String() != "volumeattachments//csi-c0f72275bce999e2539d74bb226ff02c1eb9f6810bbc9eb9ab897bad57da62f1" {
		t.Errorf("%s, %t", key, ok)
	}
}

// TestResourceClaims follows the statuses of a pod's claims.
func TestResourceClaims(t *testing.T) {
	pod := &corev1.Pod{Spec: corev1.PodSpec{ResourceClaims: []corev1.PodResourceClaim{
		{Name: "own", ResourceClaimName: new("shared")}, {Name: "made", ResourceClaimTemplateName: new("t")},
		{Name: "unmade", ResourceClaimTemplateName: new("t")}, {Name: "needless", ResourceClaimTemplateName: new("t")},
	}}, Status: corev1.PodStatus{
		ResourceClaimStatuses:       []corev1.PodResourceClaimStatus{{Name: "made", ResourceClaimName: new("web-made")}, {Name: "needless"}},
		ExtendedResourceClaimStatus: &corev1.PodExtendedResourceClaimStatus{ResourceClaimName: "web-extended"},
	}}
	got := maps.Collect(references.ResourceClaims(pod))
	if want := map[string]string{"shared": "own", "web-made": "made", "web-extended": ""}; !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	for range references.ResourceClaims(pod) {
		break // the sequence may be left early
	}
}
