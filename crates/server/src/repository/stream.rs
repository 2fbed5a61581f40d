//! A part of a file as a body, 64 KiB at a time: memory does not grow with the file. What must stay out: which part.

use bytes::{Bytes, BytesMut};
use hyper::body::{Body, Frame, SizeHint};
use std::{
    fs::File,
    io::{self, SeekFrom},
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::io::{AsyncRead, AsyncSeek, ReadBuf};

const CHUNK: usize = 64 << 10;

/// `remaining` bytes from wherever the file stands. A file that ends early is an error, so that the client notices.
pub(super) struct FileBody {
    file: tokio::fs::File,
    /// Where to begin, until that has been done.
    seek: Option<SeekFrom>,
    seeking: bool,
    remaining: u64,
}

impl FileBody {
    pub fn new(file: File, from: u64, length: u64) -> Self {
        let mut file = tokio::fs::File::from_std(file);
        file.set_max_buf_size(CHUNK);
        let seek = (from > 0).then_some(SeekFrom::Start(from));
        FileBody { file, seek, seeking: false, remaining: length }
    }

    fn poll_begin(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(to) = self.seek.take() {
            Pin::new(&mut self.file).start_seek(to)?;
            self.seeking = true;
        }
        if self.seeking {
            ready!(Pin::new(&mut self.file).poll_complete(context))?;
            self.seeking = false;
        }
        Poll::Ready(Ok(()))
    }
}

impl Body for FileBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.remaining == 0 {
            return Poll::Ready(None);
        }
        ready!(self.poll_begin(context))?;
        let mut chunk = BytesMut::zeroed(usize::try_from(self.remaining).unwrap_or(CHUNK).min(CHUNK));
        let mut buffer = ReadBuf::new(&mut chunk);
        ready!(Pin::new(&mut self.file).poll_read(context, &mut buffer))?;
        let read = buffer.filled().len();
        if read == 0 {
            return Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into())));
        }
        self.remaining -= read as u64;
        chunk.truncate(read);
        Poll::Ready(Some(Ok(Frame::data(chunk.freeze()))))
    }

    fn is_end_stream(&self) -> bool {
        self.remaining == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.remaining)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    #[tokio::test]
    async fn sends_a_part_and_reports_a_file_that_shrank() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let content: Vec<u8> = (0..200_000u32).map(|n| (n % 251) as u8).collect();
        std::fs::write(&path, &content).unwrap();
        let body = |from, length| FileBody::new(File::open(&path).unwrap(), from, length).collect();
        assert_eq!(body(0, 200_000).await.unwrap().to_bytes(), content);
        assert_eq!(body(70_001, 99_999).await.unwrap().to_bytes(), content[70_001..170_000]);
        assert_eq!(body(0, 200_001).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
