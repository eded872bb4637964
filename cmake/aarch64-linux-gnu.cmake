# Cross-compilation for aarch64 Linux with Debian's cross compiler; the result runs under user-mode emulation.
#
#   cmake -DCMAKE_TOOLCHAIN_FILE=cmake/aarch64-linux-gnu.cmake -DPOCKETLORA_SYSROOT=build/arm/sysroot -Dexecutorch_DIR=…
#
# POCKETLORA_SYSROOT  folder with the arm64 libraries besides libc (.ci/arm_sysroot.sh)
# The environment variable QEMU_CPU chooses the CPU that the emulator shows when the tests run.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)

set(POCKETLORA_SYSROOT "" CACHE PATH "arm64 libraries besides libc")
list(APPEND CMAKE_TRY_COMPILE_PLATFORM_VARIABLES POCKETLORA_SYSROOT)

set(CMAKE_FIND_ROOT_PATH ${POCKETLORA_SYSROOT} /usr/aarch64-linux-gnu)
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
# BOTH: the ExecuTorch SDK lies outside of the sysroot.
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE BOTH)

set(CMAKE_BUILD_RPATH ${POCKETLORA_SYSROOT}/usr/lib/aarch64-linux-gnu)
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64-static -L /usr/aarch64-linux-gnu)
