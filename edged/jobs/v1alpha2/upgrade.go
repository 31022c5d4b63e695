package v1alpha2

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// NodeUpgradeJob brings edge nodes to a version of edgecore.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=nodeupgradejobs,scope=Cluster,shortName=nuj,categories=edgekit
// +kubebuilder:printcolumn:name="Version",type=string,JSONPath=`.spec.version`
// +kubebuilder:printcolumn:name="Phase",type=string,JSONPath=`.status.phase`
// +kubebuilder:printcolumn:name="Done",type=string,JSONPath=`.status.progress`
// +kubebuilder:printcolumn:name="Failed",type=integer,JSONPath=`.status.nodes.failed`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.reason`
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.message`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:storageversion
type NodeUpgradeJob struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec says what is to be done, and where.
	Spec NodeUpgradeJobSpec `json:"spec"`
	// Status says how far it is.
	Status JobStatus `json:"status,omitempty"`
}

// NodeUpgradeJobSpec says which version nodes are brought to, and where it comes from.
//
// +kubebuilder:validation:XValidation:rule="has(self.labelSelector) != (has(self.nodeNames) && size(self.nodeNames) > 0)",message="exactly one of nodeNames and labelSelector is needed"
// +kubebuilder:validation:XValidation:rule="!(has(self.image) && has(self.artifact))",message="image and artifact both say where the program comes from: give one of them"
// +kubebuilder:validation:XValidation:rule="has(self.version) == has(oldSelf.version) && (!has(self.version) || self.version == oldSelf.version) && has(self.image) == has(oldSelf.image) && (!has(self.image) || self.image == oldSelf.image) && has(self.imageDigestGatter) == has(oldSelf.imageDigestGatter) && (!has(self.imageDigestGatter) || self.imageDigestGatter == oldSelf.imageDigestGatter) && has(self.requireConfirmation) == has(oldSelf.requireConfirmation) && (!has(self.requireConfirmation) || self.requireConfirmation == oldSelf.requireConfirmation) && has(self.checkItems) == has(oldSelf.checkItems) && (!has(self.checkItems) || self.checkItems == oldSelf.checkItems) && has(self.rollbackOnFailure) == has(oldSelf.rollbackOnFailure) && (!has(self.rollbackOnFailure) || self.rollbackOnFailure == oldSelf.rollbackOnFailure) && has(self.health) == has(oldSelf.health) && (!has(self.health) || self.health == oldSelf.health) && has(self.artifact) == has(oldSelf.artifact) && (!has(self.artifact) || self.artifact == oldSelf.artifact) && has(self.nodeNames) == has(oldSelf.nodeNames) && (!has(self.nodeNames) || self.nodeNames == oldSelf.nodeNames) && has(self.labelSelector) == has(oldSelf.labelSelector) && (!has(self.labelSelector) || self.labelSelector == oldSelf.labelSelector) && has(self.concurrency) == has(oldSelf.concurrency) && (!has(self.concurrency) || self.concurrency == oldSelf.concurrency) && has(self.timeoutSeconds) == has(oldSelf.timeoutSeconds) && (!has(self.timeoutSeconds) || self.timeoutSeconds == oldSelf.timeoutSeconds) && has(self.failureTolerate) == has(oldSelf.failureTolerate) && (!has(self.failureTolerate) || self.failureTolerate == oldSelf.failureTolerate) && has(self.rollout) == has(oldSelf.rollout) && (!has(self.rollout) || self.rollout == oldSelf.rollout) && has(self.window) == has(oldSelf.window) && (!has(self.window) || self.window == oldSelf.window) && has(self.postCompleteDelay) == has(oldSelf.postCompleteDelay) && (!has(self.postCompleteDelay) || self.postCompleteDelay == oldSelf.postCompleteDelay) && has(self.deadline) == has(oldSelf.deadline) && (!has(self.deadline) || self.deadline == oldSelf.deadline) && has(self.ttlSecondsAfterFinished) == has(oldSelf.ttlSecondsAfterFinished) && (!has(self.ttlSecondsAfterFinished) || self.ttlSecondsAfterFinished == oldSelf.ttlSecondsAfterFinished)",message="the spec of a job cannot be changed but for paused and cancel: make a new job"
// +kubebuilder:validation:XValidation:rule="!(has(oldSelf.cancel) && oldSelf.cancel) || (has(self.cancel) && self.cancel)",message="cancel cannot be taken back: make a new job"
type NodeUpgradeJobSpec struct {
	// Version is the version of edgecore, for example v1.24.0.
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:Pattern=`^v[0-9]+\.[0-9]+\.[0-9]+([-+][A-Za-z0-9_.+-]+)?$`
	Version string `json:"version"`
	// Image is the repository of the artefact, with at least one slash. Its tag is the
	// version, whatever tag the field has. Without image and artifact, nodes use the repository
	// of their own configuration.
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9][A-Za-z0-9._-]*(:[0-9]{1,5})?(/[a-z0-9][a-z0-9._-]*)+(:[A-Za-z0-9_.-]{1,128})?$`
	Image string `json:"image,omitempty"`
	// ImageDigestGetter has the digests that the artefact must have.
	ImageDigestGetter *ImageDigestGetter `json:"imageDigestGatter,omitempty"` // the field's name has this error in KubeEdge
	// RequireConfirmation makes each node wait until somebody at the machine confirms.
	RequireConfirmation bool `json:"requireConfirmation,omitempty"`
	// CheckItems are checked before a node begins.
	// +kubebuilder:validation:MaxItems=3
	// +listType=set
	CheckItems []CheckItem `json:"checkItems,omitempty"`
	// RollbackOnFailure brings a node that is not healthy after the upgrade back to the
	// version before.
	// +kubebuilder:default=true
	RollbackOnFailure *bool `json:"rollbackOnFailure,omitempty"`
	// Health says how a node judges itself after the upgrade.
	Health *Health `json:"health,omitempty"`
	// Artifact says where the program comes from and by whom it must be signed.
	Artifact *Artifact `json:"artifact,omitempty"`

	Selection `json:",inline"`
	Control   `json:",inline"`
}

// NodeUpgradeJobList is a list of jobs.
//
// +kubebuilder:object:root=true
type NodeUpgradeJobList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	// Items of the list.
	Items []NodeUpgradeJob `json:"items"`
}

// Digest is the SHA-256 digest of an artefact, sha256: and 64 digits.
//
// +kubebuilder:validation:Pattern=`^sha256:[0-9a-f]{64}$`
type Digest string

// ImageDigestGetter has the digests that the artefact must have, by platform.
type ImageDigestGetter struct {
	// ARM64 is the digest for linux/arm64.
	ARM64 Digest `json:"arm64,omitempty"`
	// AMD64 is the digest for linux/amd64.
	AMD64 Digest `json:"amd64,omitempty"`
	// Value is the digest for every platform, as v1alpha1 has it.
	Value Digest `json:"value,omitempty"`
	// RegistryAPI is accepted and not used, as in KubeEdge.
	RegistryAPI *RegistryAPI `json:"registryAPI,omitempty"`
}

// RegistryAPI says how a registry is reached. It is not used.
type RegistryAPI struct {
	// Host of the registry.
	// +kubebuilder:validation:MaxLength=512
	Host string `json:"host,omitempty"`
	// Token for it.
	// +kubebuilder:validation:MaxLength=4096
	Token string `json:"token,omitempty"`
}

// Artifact says where a program comes from.
//
// +kubebuilder:validation:XValidation:rule="has(self.oci) != has(self.http)",message="an artifact has either oci or http"
// +kubebuilder:validation:XValidation:rule="!has(self.http) || (isURL(self.http) && self.http.matches('^https?://[^/@?#]+/.*$'))",message="artifact.http is an absolute URL, http:// or https://, without user and password"
type Artifact struct {
	// OCI is a reference in a registry: repository, and tag or digest. Without a tag it is
	// the version.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9][A-Za-z0-9._-]*(:[0-9]{1,5})?(/[a-z0-9][a-z0-9._-]*)+(:[A-Za-z0-9_.-]{1,128})?(@sha256:[0-9a-f]{64})?$`
	OCI string `json:"oci,omitempty"`
	// HTTP is the URL of an OCI image layout in a tar file.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	HTTP string `json:"http,omitempty"`
	// Digest that the index or the manifest must have.
	Digest Digest `json:"digest,omitempty"`
	// Signature says by whom it must be signed. Without it: by any whom the node trusts.
	Signature *Signature `json:"signature,omitempty"`
}

// Signature says by whom an artefact must be signed. It can only narrow whom a node trusts:
// keys and policies are on the node.
//
// +kubebuilder:validation:XValidation:rule="has(self.keys) != has(self.trustPolicy)",message="a signature has either keys or trustPolicy"
type Signature struct {
	// Keys are the names of public keys in the node's trust folder, without .pub. One of them
	// must have signed.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:Pattern=`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`
	// +listType=set
	Keys []string `json:"keys,omitempty"`
	// TrustPolicy is the name of a policy in the node's trustpolicy.json.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	TrustPolicy string `json:"trustPolicy,omitempty"`
}
