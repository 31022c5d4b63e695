// Package kubeletconfig reads the file that a kubelet is configured by, a
// KubeletConfiguration of kubelet.config.k8s.io/v1beta1, for edgecore.
//
//	cfg, err := kubeletconfig.Load("/var/lib/kubelet/config.yaml", "/etc/kubernetes/kubelet.conf.d")
//	cfg.Settings["max-pods"] // {Field: "maxPods", Text: "250"}
//	cfg.Unused(log)          // one line for each kind of field that edgecore does not use
//
// [Fields] decides about each field of the type: which setting of edgecore has its value,
// or why none has. A test compares it with the type of k8s.io/kubelet, so a field of a
// new Kubernetes fails the test until somebody decides about it. The package does not
// import that type: its imports would add 475 KB to edgecore.
//
// The file is read as strictly as a kubelet reads it: unknown fields, fields that are
// given twice, values of another type and fields that contradict each other are errors
// that name the field and the remedy. A field that has the type's zero value and no
// pointer counts as absent, as for a kubelet. The files *.conf of the folder are merged over the
// first file in the order of their names: maps by their keys, all else as a whole.
package kubeletconfig
