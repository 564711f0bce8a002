package main

import (
	"context"
	"os"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const leastCapacity = 1 << 20

func (d *driver) CreateVolume(ctx context.Context, r *csi.CreateVolumeRequest) (*csi.CreateVolumeResponse, error) {
	if r.GetName() == "" {
		return nil, status.Error(codes.InvalidArgument, "a volume needs a name")
	}
	if err := checkCapabilities(r.GetVolumeCapabilities()); err != nil {
		return nil, err
	}
	source, content, least, err := d.sourceOf(r.GetVolumeContentSource())
	if err != nil {
		return nil, err
	}
	least = max(least, leastCapacity)
	required, limit := r.GetCapacityRange().GetRequiredBytes(), r.GetCapacityRange().GetLimitBytes()
	if required < 0 || limit < 0 || limit > 0 && (limit < required || limit < least) {
		return nil, status.Errorf(codes.OutOfRange, "from %d to %d bytes: not possible", required, limit)
	}
	id := d.volumes.id(r.GetName())
	there, found, err := d.volumes.find(id)
	if err != nil {
		return nil, err
	}
	if !found {
		// As of a disk: what is smaller than its source could not hold it.
		if source != "" && required != 0 && required < least {
			return nil, status.Errorf(codes.OutOfRange, "%d bytes are fewer than the %d of %s", required, least, source)
		}
		there = entry{r.GetName(), source, max(required, least), time.Now()}
		if err := d.volumes.add(there, func(data string) error { return d.fill(ctx, content, data) }); err != nil {
			return nil, err
		}
	}
	if there.Source != source || there.Capacity < required || limit > 0 && there.Capacity > limit {
		return nil, status.Errorf(codes.AlreadyExists, "volume %s is there, and is another", r.GetName())
	}
	return &csi.CreateVolumeResponse{Volume: &csi.Volume{
		VolumeId: id, CapacityBytes: there.Capacity, ContentSource: r.GetVolumeContentSource(),
	}}, nil
}

// sourceOf says what a volume is copied from: its id, its folder, and how large it is. All are empty for a new volume.
func (d *driver) sourceOf(source *csi.VolumeContentSource) (id, data string, capacity int64, err error) {
	var from shelf
	switch {
	case source == nil:
		return "", "", 0, nil
	case source.GetSnapshot() != nil:
		from, id = d.snapshots, source.GetSnapshot().GetSnapshotId()
	case source.GetVolume() != nil:
		from, id = d.volumes, source.GetVolume().GetVolumeId()
	default:
		return "", "", 0, status.Error(codes.InvalidArgument, "the source is of an unknown kind")
	}
	e, found, err := from.find(id)
	if err == nil && !found {
		err = status.Errorf(codes.NotFound, "there is no %q to copy from", id)
	}
	return id, from.data(id), e.Capacity, err
}

func (d *driver) fill(ctx context.Context, from, data string) error {
	if from != "" {
		return d.copyOf(ctx, from, data)
	}
	if err := os.Mkdir(data, 0o777); err != nil {
		return err
	}
	// The umask took bits away; pods run as any user.
	return os.Chmod(data, 0o777)
}

func (d *driver) DeleteVolume(_ context.Context, r *csi.DeleteVolumeRequest) (*csi.DeleteVolumeResponse, error) {
	if r.GetVolumeId() == "" {
		return nil, status.Error(codes.InvalidArgument, "which volume?")
	}
	_, found, err := d.volumes.find(r.GetVolumeId())
	if err != nil {
		return nil, err
	}
	if !found {
		return &csi.DeleteVolumeResponse{}, nil
	}
	mounts, err := mountsOf(d.volumes.data(r.GetVolumeId()))
	if err != nil {
		return nil, err
	}
	if len(mounts) > 0 {
		return nil, status.Errorf(codes.FailedPrecondition, "volume %s is in use at %s", r.GetVolumeId(), mounts[0].Mountpoint)
	}
	return &csi.DeleteVolumeResponse{}, d.volumes.remove(r.GetVolumeId())
}

func (d *driver) ValidateVolumeCapabilities(_ context.Context, r *csi.ValidateVolumeCapabilitiesRequest) (*csi.ValidateVolumeCapabilitiesResponse, error) {
	if r.GetVolumeId() == "" || len(r.GetVolumeCapabilities()) == 0 {
		return nil, status.Error(codes.InvalidArgument, "which volume, and what of it?")
	}
	if _, found, err := d.volumes.find(r.GetVolumeId()); err != nil || !found {
		return nil, notFound(r.GetVolumeId(), err)
	}
	if err := checkCapabilities(r.GetVolumeCapabilities()); err != nil {
		return &csi.ValidateVolumeCapabilitiesResponse{Message: err.Error()}, nil
	}
	return &csi.ValidateVolumeCapabilitiesResponse{Confirmed: &csi.ValidateVolumeCapabilitiesResponse_Confirmed{
		VolumeContext: r.GetVolumeContext(), VolumeCapabilities: r.GetVolumeCapabilities(), Parameters: r.GetParameters(),
	}}, nil
}

// checkCapabilities takes every way of access, since one node can give them all, but to a file system only.
func checkCapabilities(all []*csi.VolumeCapability) error {
	if len(all) == 0 {
		return status.Error(codes.InvalidArgument, "how is the volume to be used?")
	}
	for _, c := range all {
		if c.GetMount() == nil {
			return status.Error(codes.InvalidArgument, "a volume is a file system, and no block device")
		}
	}
	return nil
}

// notFound is why a volume can't be used: what went wrong, or that it is not there.
func notFound(id string, err error) error {
	if err != nil {
		return err
	}
	return status.Errorf(codes.NotFound, "there is no volume %q", id)
}
