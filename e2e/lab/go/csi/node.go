package main

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// NodePublishVolume mounts the volume's folder where a pod is to find it.
func (d *driver) NodePublishVolume(_ context.Context, r *csi.NodePublishVolumeRequest) (*csi.NodePublishVolumeResponse, error) {
	target := r.GetTargetPath()
	if r.GetVolumeId() == "" || !filepath.IsAbs(target) {
		return nil, status.Error(codes.InvalidArgument, "which volume, and where to?")
	}
	if err := checkCapabilities([]*csi.VolumeCapability{r.GetVolumeCapability()}); err != nil {
		return nil, err
	}
	if _, found, err := d.volumes.find(r.GetVolumeId()); err != nil || !found {
		return nil, notFound(r.GetVolumeId(), err)
	}
	// Its parent is there: the kubelet sees to that.
	if err := os.Mkdir(target, 0o750); err != nil && !os.IsExist(err) {
		return nil, err
	}
	mounts, err := mountinfo.GetMounts(mountinfo.SingleEntryFilter(target))
	if err != nil {
		return nil, err
	}
	data, readOnly := d.volumes.data(r.GetVolumeId()), isReadOnly(r)
	if len(mounts) > 0 {
		return &csi.NodePublishVolumeResponse{}, checkMount(mounts[0], data, readOnly)
	}
	if err := unix.Mount(data, target, "", unix.MS_BIND, ""); err != nil {
		return nil, status.Errorf(codes.Internal, "mount %s at %s: %v", data, target, err)
	}
	if readOnly {
		if err := unix.Mount("", target, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
			_ = unix.Unmount(target, 0)
			return nil, status.Errorf(codes.Internal, "mount %s read-only: %v", target, err)
		}
	}
	return &csi.NodePublishVolumeResponse{}, nil
}

// checkMount says whether a mount is already what is asked for.
func checkMount(m *mountinfo.Info, data string, readOnly bool) error {
	p, err := whereabouts(data)
	if err != nil {
		return err
	}
	isOther, _ := p.isOther(m)
	if isOther || slices.Contains(strings.Split(m.Options, ","), "ro") != readOnly {
		return status.Errorf(codes.AlreadyExists, "%s is a mount already, of another kind", m.Mountpoint)
	}
	return nil
}

func isReadOnly(r *csi.NodePublishVolumeRequest) bool {
	mode := r.GetVolumeCapability().GetAccessMode().GetMode()
	return r.GetReadonly() || slices.Contains(r.GetVolumeCapability().GetMount().GetMountFlags(), "ro") ||
		mode == csi.VolumeCapability_AccessMode_SINGLE_NODE_READER_ONLY ||
		mode == csi.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY
}

// NodeUnpublishVolume leaves nothing at the target, whatever has become of the volume.
func (d *driver) NodeUnpublishVolume(_ context.Context, r *csi.NodeUnpublishVolumeRequest) (*csi.NodeUnpublishVolumeResponse, error) {
	target := r.GetTargetPath()
	if r.GetVolumeId() == "" || !filepath.IsAbs(target) {
		return nil, status.Error(codes.InvalidArgument, "which volume, and where?")
	}
	for {
		mounts, err := mountinfo.GetMounts(mountinfo.SingleEntryFilter(target))
		if err != nil {
			return nil, err
		}
		if len(mounts) == 0 {
			break
		}
		if err := unix.Unmount(target, 0); err != nil {
			return nil, status.Errorf(codes.Internal, "unmount %s: %v", target, err)
		}
	}
	// Not what it holds: were that a volume after all, it would be lost.
	if err := os.Remove(target); err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	return &csi.NodeUnpublishVolumeResponse{}, nil
}
