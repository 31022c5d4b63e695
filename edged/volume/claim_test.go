package volume

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestClaimIsChecked holds the decisions about a claim and its volume to what a
// kubelet decides, and to its words.
func TestClaimIsChecked(t *testing.T) {
	block := corev1.PersistentVolumeBlock
	now, yes := metav1.Now(), true
	for _, tt := range []struct {
		name  string
		edit  func(p *corev1.Pod, claim *corev1.PersistentVolumeClaim, pv *corev1.PersistentVolume)
		wants string
	}{
		{"bound", nil, ""},
		{"not bound", func(_ *corev1.Pod, c *corev1.PersistentVolumeClaim, _ *corev1.PersistentVolume) {
			c.Status.Phase = corev1.ClaimPending
		}, "PVC is not bound"},
		{"lost", func(_ *corev1.Pod, c *corev1.PersistentVolumeClaim, _ *corev1.PersistentVolume) {
			c.Status.Phase = corev1.ClaimLost
		}, "PVC is not bound"},
		{"bound to nothing", func(_ *corev1.Pod, c *corev1.PersistentVolumeClaim, _ *corev1.PersistentVolume) {
			c.Spec.VolumeName = ""
		}, "PVC has empty pvc.Spec.VolumeName"},
		{"deleted", func(_ *corev1.Pod, c *corev1.PersistentVolumeClaim, _ *corev1.PersistentVolume) {
			c.DeletionTimestamp = &now
		}, "PVC is being deleted"},
		{"deleted, and protected while it is used", func(_ *corev1.Pod, c *corev1.PersistentVolumeClaim, _ *corev1.PersistentVolume) {
			c.DeletionTimestamp, c.Finalizers = &now, []string{"kubernetes.io/pvc-protection"}
		}, ""},
		{"the volume is not bound", func(_ *corev1.Pod, _ *corev1.PersistentVolumeClaim, pv *corev1.PersistentVolume) {
			pv.Spec.ClaimRef = nil
		}, "found PV object pv-1 but it has a nil pv.Spec.ClaimRef indicating it is not yet bound to the claim"},
		{"the volume of another claim", func(_ *corev1.Pod, _ *corev1.PersistentVolumeClaim, pv *corev1.PersistentVolume) {
			pv.Spec.ClaimRef.UID = "other"
		}, "found PV object pv-1 but its pv.Spec.ClaimRef.UID other does not point to claim.UID c"},
		{"a device that is mounted", func(_ *corev1.Pod, _ *corev1.PersistentVolumeClaim, pv *corev1.PersistentVolume) {
			pv.Spec.VolumeMode = &block
		}, "volume v has volumeMode Block, but is specified in volumeMounts"},
		{"a folder that is a device", func(p *corev1.Pod, _ *corev1.PersistentVolumeClaim, _ *corev1.PersistentVolume) {
			p.Spec.Containers[0].VolumeMounts, p.Spec.Containers[0].VolumeDevices = nil, []corev1.VolumeDevice{{Name: "v"}}
		}, "volume v has volumeMode Filesystem, but is specified in volumeDevices"},
		{"ephemeral, and the pod's", func(p *corev1.Pod, c *corev1.PersistentVolumeClaim, _ *corev1.PersistentVolume) {
			p.Spec.Volumes[0].VolumeSource = corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{}}
			c.OwnerReferences = []metav1.OwnerReference{{UID: "u", Controller: &yes}}
		}, ""},
		{"ephemeral, of a pod before", func(p *corev1.Pod, c *corev1.PersistentVolumeClaim, _ *corev1.PersistentVolume) {
			p.Spec.Volumes[0].VolumeSource = corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{}}
			c.OwnerReferences = []metav1.OwnerReference{{UID: "before", Controller: &yes}}
		}, "PVC a/data was not created for pod a/web (pod is not owner)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "web", UID: "u"}, Spec: corev1.PodSpec{
				Containers: []corev1.Container{{Name: "main", VolumeMounts: []corev1.VolumeMount{{Name: "v"}}}},
				Volumes:    []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"}}}},
			}}
			claim := &corev1.PersistentVolumeClaim{
				ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "data", UID: "c"},
				Spec:       corev1.PersistentVolumeClaimSpec{VolumeName: "pv-1"}, Status: corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimBound},
			}
			pv := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "pv-1"}, Spec: corev1.PersistentVolumeSpec{ClaimRef: &corev1.ObjectReference{UID: "c"}}}
			if tt.edit != nil {
				tt.edit(p, claim, pv)
			}
			err := checkClaim(p, &p.Spec.Volumes[0], claim)
			if err == nil {
				err = checkVolume(pv, claim, "v", usageOf(p, "v"))
			}
			if (err == nil) != (tt.wants == "") || err != nil && err.Error() != tt.wants {
				t.Errorf("%v, want %q", err, tt.wants)
			}
		})
	}
}

func TestNodeOfVolume(t *testing.T) {
	pv := &corev1.PersistentVolume{}
	if err := checkNode(pv, nil); err != nil {
		t.Error(err)
	}
	pv.Spec.NodeAffinity = &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
		MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{"n"}}},
	}}}}
	if err := checkNode(pv, map[string]string{corev1.LabelHostname: "n"}); err != nil {
		t.Error(err)
	}
	if err := checkNode(pv, map[string]string{corev1.LabelHostname: "m"}); err == nil || err.Error() != "no matching NodeSelectorTerms" {
		t.Error(err)
	}
}

func TestStorageOf(t *testing.T) {
	block := corev1.PersistentVolumeBlock
	spec := func(edit func(*corev1.PersistentVolumeSpec)) *corev1.PersistentVolume {
		pv := &corev1.PersistentVolume{}
		edit(&pv.Spec)
		return pv
	}
	for name, tt := range map[string]struct {
		pv    *corev1.PersistentVolume
		wants string // of the error
		is    func(storage) bool
	}{
		"local": {spec(func(s *corev1.PersistentVolumeSpec) { s.Local = &corev1.LocalVolumeSource{Path: "/d"} }), "",
			func(s storage) bool {
				return s.kind == kindLocal && s.path == "/d" && !s.readOnly && !s.block && !s.exclusive
			}},
		"block": {spec(func(s *corev1.PersistentVolumeSpec) {
			s.Local, s.VolumeMode = &corev1.LocalVolumeSource{Path: "/dev/x"}, &block
		}), "", func(s storage) bool { return s.block }},
		"NFS says read-only": {spec(func(s *corev1.PersistentVolumeSpec) { s.NFS = &corev1.NFSVolumeSource{ReadOnly: true} }), "",
			func(s storage) bool { return s.readOnly }},
		"one pod": {spec(func(s *corev1.PersistentVolumeSpec) {
			s.HostPath, s.AccessModes = &corev1.HostPathVolumeSource{}, []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOncePod}
		}), "", func(s storage) bool { return s.exclusive }},
		"one pod or more": {spec(func(s *corev1.PersistentVolumeSpec) {
			s.HostPath, s.AccessModes = &corev1.HostPathVolumeSource{}, []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOncePod, corev1.ReadWriteMany}
		}), "", func(s storage) bool { return !s.exclusive }},
		"host path with options": {spec(func(s *corev1.PersistentVolumeSpec) {
			s.HostPath, s.MountOptions = &corev1.HostPathVolumeSource{}, []string{"ro"}
		}), "Mount options are not supported for this volume type", nil},
		"block on NFS": {spec(func(s *corev1.PersistentVolumeSpec) { s.NFS, s.VolumeMode = &corev1.NFSVolumeSource{}, &block }), "cannot have volumeMode Block", nil},
		"iSCSI":        {spec(func(s *corev1.PersistentVolumeSpec) { s.ISCSI = &corev1.ISCSIPersistentVolumeSource{} }), "use hostPath, local", nil},
	} {
		s, err := storageOf(tt.pv, false)
		if (err == nil) != (tt.wants == "") || err != nil && !strings.Contains(err.Error(), tt.wants) || err == nil && !tt.is(s) {
			t.Errorf("%s: %+v, %v", name, s, err)
		}
	}
}

func TestNFSSource(t *testing.T) {
	for _, tt := range []struct {
		server, path, want string
	}{
		{"files", "/srv", "files:/srv"}, {"10.0.0.7", "/", "10.0.0.7:/"}, {"fd00::7", "/srv", "[fd00::7]:/srv"}, {"[fd00::7]", "/srv", "[fd00::7]:/srv"},
		{"files", "/with space", "files:/with space"},
		{"", "/srv", ""}, {"-o", "/srv", ""}, {"files", "srv", ""}, {"files", "", ""}, {"a b", "/srv", ""}, {"files/x", "/srv", ""}, {"files", "/s\nrv", ""},
	} {
		got, err := nfsSource(&corev1.NFSVolumeSource{Server: tt.server, Path: tt.path})
		if got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("%q %q: %q, %v, want %q", tt.server, tt.path, got, err, tt.want)
		}
	}
}

func TestMountOptions(t *testing.T) {
	for _, good := range [][]string{nil, {"ro"}, {"nfsvers=4.1", "hard,timeo=600"}, {"sec=sys"}} {
		if err := checkMountOptions(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{"", "ro,", "ro nosuid", "-o", "loop=/dev/loop0", "remount", "helper=sh", "uhelper=x", "X-mount.mkdir", "x-systemd.automount", "bind", "a\x00"} {
		if err := checkMountOptions([]string{bad}); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}
